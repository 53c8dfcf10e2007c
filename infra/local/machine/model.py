"""Machine: a booted Windows, as a view on its disk. What is kept here and not on the disk is gone with the next boot, as in life."""

from __future__ import annotations

import threading
import time
from datetime import datetime

from infra.local.machine import cbs, features, services
from infra.local.machine.boot_options import start_with_options
from infra.local.machine.component_store import finish_staged
from infra.local.machine.disk import MachineDisk
from infra.local.machine.features import FeatureCatalogue
from infra.local.machine.free_space import free_bytes, total_bytes
from infra.local.machine.openssh import start_openssh
from infra.local.machine.pending_renames import finish_pending_renames
from infra.local.machine.products import Product, product_of
from infra.local.machine.remoting import BLOCK_OUTBOUND_RULE, firewall_rules
from infra.local.machine.scheduled_tasks import startup_commands
from infra.local.origin.windows_components import COMPONENT, shipped_component

CURRENT_VERSION = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion"
SETUP_STATE = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State"
COMPUTER_NAME = r"HKLM:\SYSTEM\CurrentControlSet\Control\ComputerName"
HYPER_V = "Hyper-V"


class Machine:
    """A machine that runs since boot_time (UTC); satisfies infra.local.guest.engine.GuestMachine."""

    def __init__(self, disk: MachineDisk, *, boot_time: datetime, outbound_allowed: bool, network_disturbed: bool = False) -> None:
        self.disk = disk
        self.boot_time = boot_time
        self.outbound_allowed = outbound_allowed
        self.network_disturbed = network_disturbed
        self.lock = threading.RLock()
        self.started_services: set[str] = set()
        """Services that were started by hand since the boot."""
        self.services_stable_at = 0.0
        """On the monotonic clock: before it some automatic service is still starting."""

    @property
    def build(self) -> int:
        """CurrentBuildNumber."""
        return int(self._text(CURRENT_VERSION, "CurrentBuildNumber"))

    @property
    def ubr(self) -> int:
        """Update build revision."""
        value = self.disk.make_key(CURRENT_VERSION).get("UBR")
        return value if isinstance(value, int) else 0

    @property
    def os_build(self) -> str:
        """build.UBR."""
        return f"{self.build}.{self.ubr}"

    @property
    def product(self) -> Product:
        """The release of Windows."""
        return product_of(self.build)

    @property
    def catalogue(self) -> FeatureCatalogue:
        """The features that this Windows knows."""
        return FeatureCatalogue(self.product)

    @property
    def computer_name(self) -> str:
        """The name in use since the boot."""
        return self._text(rf"{COMPUTER_NAME}\ActiveComputerName", "ComputerName")

    @property
    def image_state(self) -> str:
        """Windows Setup's state of this installation, IMAGE_STATE_COMPLETE in daily life."""
        return self._text(SETUP_STATE, "ImageState")

    @property
    def pending_reboot(self) -> bool:
        """True while a change waits for a restart."""
        return cbs.is_reboot_pending(self.disk)

    @property
    def free_bytes(self) -> int:
        """Free bytes on C:."""
        return free_bytes(self.disk, self.build)

    @property
    def total_bytes(self) -> int:
        """Size of C: in bytes."""
        return total_bytes(self.disk)

    @property
    def reaches_outside(self) -> bool:
        """False when the network around the VM or the guest's own firewall refuses outbound traffic."""
        return self.outbound_allowed and BLOCK_OUTBOUND_RULE not in firewall_rules(self.disk)

    @property
    def services_stable(self) -> bool:
        """False for a while after the boot: automatic services come up one after the other."""
        return time.monotonic() >= self.services_stable_at

    def service_state(self, service: services.ServiceState) -> str:
        """Running or Stopped: automatic services run, others when somebody started them."""
        runs = service.start_mode.startswith("Auto") or service.name.lower() in self.started_services
        return "Running" if runs else "Stopped"

    def _text(self, path: str, name: str) -> str:
        return str(self.disk.make_key(path).get(name, ""))


def boot(disk: MachineDisk, *, boot_time: datetime, outbound_allowed: bool) -> Machine:
    """Start Windows from a disk: do what waited for a restart, then run the tasks that have a boot trigger."""
    start_with_options(disk)
    finish_pending_renames(disk)
    finish_staged(disk)
    reached = cbs.finish_pending(disk)
    machine = Machine(disk, boot_time=boot_time, outbound_allowed=outbound_allowed)
    if reached is not None:
        disk.make_key(CURRENT_VERSION).set("UBR", reached)
        disk.write(COMPONENT, shipped_component(machine.build, reached).content)
    for feature in machine.catalogue.features:
        if features.feature_state(disk, feature.name) == features.INSTALL_PENDING:
            features.set_feature_state(disk, feature, features.INSTALLED)
            machine.network_disturbed = machine.network_disturbed or feature.name == HYPER_V
            for name, start in services.FEATURE_SERVICES.get(feature.name, ()):
                services.set_service(disk, name, start)
    names = disk.make_key(COMPUTER_NAME)
    names.make("ActiveComputerName").set("ComputerName", names.make("ComputerName").get("ComputerName", "") or "")
    if services.service_start(disk, "sshd") == services.AUTO:
        start_openssh(disk)
    if any("Resize-Partition" in command for command in startup_commands(disk)):
        disk.partition_gib = disk.size_gib
    return machine
