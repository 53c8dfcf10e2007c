r"""Windows services: SYSTEM\<control set>\Services\<name> with Type, Start and DelayedAutostart.

Numbers: https://learn.microsoft.com/en-us/windows/win32/api/winsvc/nf-winsvc-createservicew. The list is that of a Server Core Azure VM.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.local.machine.disk import MachineDisk

_SERVICES = r"HKLM:\SYSTEM\CurrentControlSet\Services"
BOOT, SYSTEM, AUTO, MANUAL, DISABLED = range(5)
_MODES = {BOOT: "Boot", SYSTEM: "System", AUTO: "Auto", MANUAL: "Manual", DISABLED: "Disabled"}
_OWN_PROCESS, _SHARED_PROCESS, _KERNEL_DRIVER = 0x10, 0x20, 0x01
_WIN32 = _OWN_PROCESS | _SHARED_PROCESS
_SVCHOST = r"%SystemRoot%\System32\svchost.exe -k netsvcs -p"


@dataclass(frozen=True)
class ServiceState:
    """A service as the registry describes it; start_mode is Boot, System, Auto, Auto (Delayed), Manual or Disabled."""

    name: str
    start_mode: str


_BASE_SERVICES = """
Auto: BFE BrokerInfrastructure CoreMessagingRegistrar CryptSvc DcomLaunch Dhcp DiagTrack Dnscache DPS EventLog EventSystem
Auto: FontCache gpsvc iphlpsvc LanmanServer LanmanWorkstation LSM mpssvc nsi Power ProfSvc RpcEptMapper RpcSs SamSs Schedule
Auto: SENS ShellHWDetection SysMain SystemEventsBroker TrkWks UserManager UsoSvc W32Time Wcmsvc WinDefend Winmgmt WinRM
Auto: WpnService RdAgent WindowsAzureGuestAgent
Delayed: CDPSvc MapsBroker MSDTC sppsvc UALSVC WdNisSvc
Manual: AppMgmt Appinfo AppXSvc BITS CertPropSvc ClipSVC defragsvc DsmSvc EFS hidserv IKEEXT KeyIso KtmRm lltdsvc lmhosts
Manual: msiserver Netlogon netprofm NetSetupSvc NlaSvc PlugPlay PolicyAgent SessionEnv smphost StateRepository StorSvc
Manual: TermService TieringEngineService TimeBrokerSvc TokenBroker TrustedInstaller UmRdpService VaultSvc vds vmicguestinterface
Manual: vmicheartbeat vmickvpexchange vmicrdv vmicshutdown vmictimesync vmicvss VSS WdiServiceHost Wecsvc WinHttpAutoProxySvc
Manual: wmiApSrv wuauserv
Disabled: AppReadiness AxInstSV NetTcpPortSharing RemoteAccess SCardSvr SensorService SharedAccess ssh-agent tzautoupdate
"""
_MODE_OF_LINE = {"Auto": (AUTO, False), "Delayed": (AUTO, True), "Manual": (MANUAL, False), "Disabled": (DISABLED, False)}
_BASE_DRIVERS = (("Tcpip", BOOT), ("storvsc", BOOT), ("vmbus", BOOT), ("netvsc", MANUAL), ("Ntfs", SYSTEM))

FEATURE_SERVICES = {
    "Containers": (("hns", MANUAL), ("vmcompute", MANUAL), ("cexecsvc", MANUAL)),
    "Hyper-V": (("vmms", AUTO), ("HvHost", MANUAL)),
}
"""Services that come with a feature."""


def base_services() -> dict[str, tuple[int, bool]]:
    """name -> (start, delayed) of a fresh marketplace image."""
    services: dict[str, tuple[int, bool]] = {}
    for line in _BASE_SERVICES.split("\n")[1:-1]:
        mode, _, names = line.partition(": ")
        services |= dict.fromkeys(names.split(), _MODE_OF_LINE[mode])
    return services


def make_base_services(disk: MachineDisk) -> None:
    """Register the services and drivers of a fresh marketplace image."""
    for name, (start, delayed) in base_services().items():
        set_service(disk, name, start, delayed=delayed)
    for name, start in _BASE_DRIVERS:
        key = disk.make_key(rf"{_SERVICES}\{name}")
        key.set("Type", _KERNEL_DRIVER)
        key.set("Start", start)
        key.set("ImagePath", rf"System32\drivers\{name}.sys", "REG_EXPAND_SZ")


def set_service(disk: MachineDisk, name: str, start: int, *, delayed: bool = False, image_path: str = _SVCHOST) -> bool:
    """Register a service or change how it starts; False when it was so already."""
    key = disk.make_key(rf"{_SERVICES}\{name}")
    before = (key.get("Start"), bool(key.get("DelayedAutostart", 0)))
    if key.get("Type") is None:
        key.set("Type", _SHARED_PROCESS if "svchost" in image_path else _OWN_PROCESS)
        key.set("ImagePath", image_path, "REG_EXPAND_SZ")
        key.set("ObjectName", "LocalSystem")
        key.set("ErrorControl", 1)
    key.set("Start", start)
    if delayed:
        key.set("DelayedAutostart", 1)
    else:
        key.remove_value("DelayedAutostart")
    return before != (start, delayed)


def service_start(disk: MachineDisk, name: str) -> int | None:
    """Start number of a service, None when there is no such service."""
    key = disk.key(rf"{_SERVICES}\{name}")
    start = key.get("Start") if key else None
    return start if isinstance(start, int) else None


def remove_service(disk: MachineDisk, name: str) -> bool:
    """True when the service was there."""
    return disk.make_key(_SERVICES).remove_key(name)


def list_services(disk: MachineDisk) -> tuple[ServiceState, ...]:
    """All Win32 services (no drivers), sorted by name."""
    found = []
    for key in disk.make_key(_SERVICES).keys.values():
        kind, start = key.get("Type"), key.get("Start")
        if isinstance(kind, int) and kind & _WIN32 and isinstance(start, int):
            delayed = start == AUTO and bool(key.get("DelayedAutostart", 0))
            found.append(ServiceState(key.name, "Auto (Delayed)" if delayed else _MODES.get(start, str(start))))
    return tuple(sorted(found, key=lambda service: service.name.lower()))
