r"""Where Windows keeps what an inventory lists, on a disk nobody is running.

Registry paths are below the hive (SOFTWARE, SYSTEM), file paths below C:\. Sources:

* product, build, UBR: SOFTWARE\Microsoft\Windows NT\CurrentVersion (values ProductName, CurrentBuildNumber, UBR, InstallationType).
* features: one key a feature with InstallState (DWORD, 1 = installed), DisplayName and ParentName (the properties of
  MSFT_ServerManagerServerComponent; InstallState:
  https://learn.microsoft.com/en-us/troubleshoot/windows-server/remote/rdp-error-general-troubleshooting).
* packages: one key a package, named name~publicKeyToken~architecture~language~version, CurrentState 112 (0x70) = installed.
* capabilities: CapabilityIndex\<capability> has one subkey or value for each package that delivers it; the capability is installed when
  one of these packages is.
* updates: an installed Package_for_… has its manifest in C:\Windows\servicing\Packages\<package>.mum, whose elements
  <assembly supportInformation="…"> and <package identifier="KB…" releaseType="Security Update"> give what Get-HotFix shows
  (a rollup's package name, Package_for_RollupFix, holds no KB number).
* services: Services\<name> with Type (0x10, 0x20 = Win32 service; 0x40 = template for users), Start (0 Boot, 1 System, 2 Auto, 3 Manual,
  4 Disabled) and DelayedAutostart (https://learn.microsoft.com/en-us/windows/win32/api/winsvc/nf-winsvc-createservicew).
* excluded UDP ports: value names of Control\Nsi\{eb004a02-…}\5, hexadecimal: 4 digits first port, 4 digits number of ports with their
  bytes swapped, data 12 00 ff ff (https://bigfix.me/fixlet/details/27007).
* Defender: `Windows Defender\Signature Updates` AVSignatureVersion and SignaturesLastUpdated (FILETIME, binary); the platform's version
  is the last folder of `Windows Defender` InstallLocation.
* titles of updates: the Windows Update agent's log, one event a line, fields separated by tabs, UTF-16.
* scheduled tasks: one XML file a task below C:\Windows\System32\Tasks, in folders as the task's path.
"""

from __future__ import annotations

CONFIG_FOLDER = r"Windows\System32\config"
CURRENT_VERSION = r"Microsoft\Windows NT\CurrentVersion"
FEATURES = r"Microsoft\ServerManager\ServicingStorage\ServerComponentCache"
SERVICING = r"Microsoft\Windows\CurrentVersion\Component Based Servicing"
PACKAGES = rf"{SERVICING}\Packages"
CAPABILITY_INDEX = rf"{SERVICING}\CapabilityIndex"
PACKAGE_INSTALLED = 112
PACKAGE_MANIFESTS = r"Windows\servicing\Packages"
EXCLUDED_UDP_PORTS = r"Control\Nsi\{eb004a02-9b1a-11d4-9123-0050047759bc}\5"
EXCLUDED_RANGE = bytes.fromhex("1200ffff")
DEFENDER = r"Microsoft\Windows Defender"
DEFENDER_SIGNATURES = r"Microsoft\Windows Defender\Signature Updates"
TASKS_FOLDER = r"Windows\System32\Tasks"
MICROSOFT_TASKS = "Microsoft"
UPDATE_LOG = r"Windows\SoftwareDistribution\ReportingEvents.log"
UPDATE_LOG_SUCCESS = "Installation Successful: Windows successfully installed the following update: "
VHD_ID_FILE = "vhd-id.txt"
CONTAINERD_FOLDER = r"Program Files\containerd"
CONTAINERD_PROGRAM = rf"{CONTAINERD_FOLDER}\containerd.exe"
CONTAINERD_ROOT = r"ProgramData\containerd\root"
CONTENT_FOLDER = rf"{CONTAINERD_ROOT}\io.containerd.content.v1.content"
METADATA_FILE = rf"{CONTAINERD_ROOT}\io.containerd.metadata.v1.bolt\meta.db"
CONTAINERD_NAMESPACE = "k8s.io"


def excluded_ports_of_name(name: str) -> range | None:
    """The ports behind the name of a value below EXCLUDED_UDP_PORTS (ff320100: port 65330 alone), or None when it is no such name."""
    try:
        raw = bytes.fromhex(name)
    except ValueError:
        return None
    if len(raw) != 4:
        return None
    first, count = int.from_bytes(raw[:2], "big"), int.from_bytes(raw[2:], "little")
    return range(first, min(first + count, 65536))
