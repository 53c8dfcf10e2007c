r"""Server features: the catalogue that Install-WindowsFeature knows, and their state in the registry.

State: SOFTWARE\Microsoft\ServerManager\ServicingStorage\ServerComponentCache\<name>, value InstallState, in the numbers of
MSFT_ServerFeature.State (https://learn.microsoft.com/en-us/previous-versions/windows/desktop/mgmtprovider/msft-serverfeature).
Names and the tree: https://learn.microsoft.com/en-us/windows-server/administration/server-core/server-core-roles-and-services.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.local.machine.disk import MachineDisk
from infra.local.machine.products import Product

AVAILABLE, INSTALLED, INSTALL_PENDING = 0, 1, 3
_CACHE = r"HKLM:\SOFTWARE\Microsoft\ServerManager\ServicingStorage\ServerComponentCache"


@dataclass(frozen=True)
class CatalogueFeature:
    """One installable feature; `needs_reboot` when it works only after a restart, `in_base` when marketplace images have it."""

    name: str
    display_name: str
    parent: str = ""
    requires: tuple[str, ...] = ()
    needs_reboot: bool = False
    in_base: bool = False


def _catalogue(product: Product) -> tuple[CatalogueFeature, ...]:
    net = product.net_framework
    return (
        CatalogueFeature("FileAndStorage-Services", "File and Storage Services", in_base=True),
        CatalogueFeature("File-Services", "File and iSCSI Services", "FileAndStorage-Services"),
        CatalogueFeature("FS-FileServer", "File Server", "File-Services"),
        CatalogueFeature("Storage-Services", "Storage Services", "FileAndStorage-Services", in_base=True),
        CatalogueFeature("Hyper-V", "Hyper-V", needs_reboot=True),
        CatalogueFeature("Web-Server", "Web Server (IIS)"),
        CatalogueFeature("NET-Framework-45-Features", f".NET Framework {net} Features", in_base=True),
        CatalogueFeature("NET-Framework-45-Core", f".NET Framework {net}", "NET-Framework-45-Features", in_base=True),
        CatalogueFeature("NET-WCF-Services45", "WCF Services", "NET-Framework-45-Features", in_base=True),
        CatalogueFeature("NET-WCF-TCP-PortSharing45", "TCP Port Sharing", "NET-WCF-Services45", in_base=True),
        CatalogueFeature("BitLocker", "BitLocker Drive Encryption", in_base=True, requires=("EnhancedStorage",)),
        CatalogueFeature("Containers", "Containers", needs_reboot=True),
        CatalogueFeature("EnhancedStorage", "Enhanced Storage", in_base=True),
        CatalogueFeature("Failover-Clustering", "Failover Clustering", needs_reboot=True),
        CatalogueFeature("Multipath-IO", "Multipath I/O", needs_reboot=True),
        CatalogueFeature("NFS-Client", "Client for NFS"),
        CatalogueFeature("Windows-Defender", product.defender_feature, in_base=True),
        CatalogueFeature("RSAT", "Remote Server Administration Tools"),
        CatalogueFeature("RSAT-Feature-Tools", "Feature Administration Tools", "RSAT"),
        CatalogueFeature("RSAT-Clustering", "Failover Clustering Tools", "RSAT-Feature-Tools"),
        CatalogueFeature("RSAT-Clustering-PowerShell", "Failover Cluster Module for Windows PowerShell", "RSAT-Clustering"),
        CatalogueFeature("RSAT-Role-Tools", "Role Administration Tools", "RSAT"),
        CatalogueFeature("RSAT-AD-Tools", "AD DS and AD LDS Tools", "RSAT-Role-Tools"),
        CatalogueFeature("RSAT-AD-PowerShell", "Active Directory module for Windows PowerShell", "RSAT-AD-Tools"),
        CatalogueFeature("RSAT-Hyper-V-Tools", "Hyper-V Management Tools", "RSAT-Role-Tools"),
        CatalogueFeature("Hyper-V-PowerShell", "Hyper-V Module for Windows PowerShell", "RSAT-Hyper-V-Tools"),
        CatalogueFeature("FS-SMB1", "SMB 1.0/CIFS File Sharing Support", needs_reboot=True),
        CatalogueFeature("SNMP-Service", "SNMP Service"),
        CatalogueFeature("System-DataArchiver", "System Data Archiver", in_base=True),
        CatalogueFeature("Telnet-Client", "Telnet Client"),
        CatalogueFeature("PowerShellRoot", "Windows PowerShell", in_base=True),
        CatalogueFeature("PowerShell", "Windows PowerShell 5.1", "PowerShellRoot", in_base=True),
        CatalogueFeature("Windows-Server-Backup", "Windows Server Backup"),
        CatalogueFeature("WoW64-Support", "WoW64 Support", in_base=True),
    )


class FeatureCatalogue:
    """The features of one release, found by name without regard to case."""

    def __init__(self, product: Product) -> None:
        self.features = _catalogue(product)
        self._by_name = {feature.name.lower(): feature for feature in self.features}

    def find(self, name: str) -> CatalogueFeature | None:
        """The feature with a name, None when Windows has none."""
        return self._by_name.get(name.lower())

    def with_dependencies(self, feature: CatalogueFeature) -> tuple[CatalogueFeature, ...]:
        """A feature after everything that has to be installed with it: parents first, then what it requires."""
        needed: list[CatalogueFeature] = []
        for name in (feature.parent, *feature.requires):
            parent = self.find(name) if name else None
            if parent is not None:
                needed += [item for item in self.with_dependencies(parent) if item not in needed]
        return (*needed, feature)

    def depth(self, feature: CatalogueFeature) -> int:
        """Place in the tree: 0 for a root."""
        parent = self.find(feature.parent) if feature.parent else None
        return 0 if parent is None else 1 + self.depth(parent)


def feature_state(disk: MachineDisk, name: str) -> int:
    """AVAILABLE, INSTALLED or INSTALL_PENDING."""
    key = disk.key(rf"{_CACHE}\{name}")
    state = key.get("InstallState", AVAILABLE) if key else AVAILABLE
    return state if isinstance(state, int) else AVAILABLE


def set_feature_state(disk: MachineDisk, feature: CatalogueFeature, state: int) -> None:
    """Write a feature's state with what Server Manager keeps beside it."""
    key = disk.make_key(rf"{_CACHE}\{feature.name}")
    key.set("InstallState", state)
    key.set("DisplayName", feature.display_name)
    key.set("ParentName", feature.parent)
