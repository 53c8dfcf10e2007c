"""The base image: the disk of a marketplace image of Windows Server Core, generalized as the marketplace has it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from images.errors import ConfigurationError
from infra.local.contracts import BaseImageReference
from infra.local.machine import cbs, features, services
from infra.local.machine.defender import set_platform, set_signatures
from infra.local.machine.disk import MachineDisk
from infra.local.machine.features import FeatureCatalogue
from infra.local.machine.model import COMPUTER_NAME, CURRENT_VERSION, SETUP_STATE
from infra.local.machine.openssh import add_openssh
from infra.local.machine.products import Product, product_of
from infra.local.machine.update_history import add_history
from infra.local.origin.update_calendar import checkpoint_before, cumulative_update_kb, side_updates_in
from infra.local.origin.windows_components import COMPONENT, shipped_component

GENERALIZED = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
SMALLDISK_GIB, FULL_DISK_GIB = 30, 127
"""Size of C: in the two kinds of marketplace image (https://learn.microsoft.com/en-us/azure/virtual-machines/windows/expand-disks)."""

_FOLDERS = (
    r"C:\Windows\System32\drivers\etc",
    r"C:\Windows\Temp",
    r"C:\Windows\Logs\CBS",
    r"C:\Windows\System32\Sysprep\Panther",
    r"C:\Windows\System32\Tasks\Microsoft\Windows",
    r"C:\Windows\SoftwareDistribution\Download",
    r"C:\Users\Public",
    r"C:\Users\Default",
    r"C:\Program Files\Windows Defender",
    r"C:\ProgramData\Microsoft",
    r"C:\Packages\Plugins",
)
_FILES = {
    r"C:\Windows\System32\ntoskrnl.exe": b"MZ\x90\x00ntoskrnl",
    r"C:\Windows\System32\cmd.exe": b"MZ\x90\x00cmd",
    r"C:\Windows\System32\wusa.exe": b"MZ\x90\x00wusa",
    r"C:\Windows\System32\Dism.exe": b"MZ\x90\x00dism",
    r"C:\Windows\System32\Sysprep\sysprep.exe": b"MZ\x90\x00sysprep",
    r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe": b"MZ\x90\x00powershell",
    r"C:\Windows\System32\drivers\etc\hosts": b"# localhost name resolution is handled within DNS itself.\r\n",
    r"C:\Windows\Panther\setupact.log": b"Info [windeploy.exe] Setup has completed phase\r\n",
    r"C:\Windows\Panther\unattend.xml": b'<unattend xmlns="urn:schemas-microsoft-com:unattend" />\r\n',
}


def create_base_disk(folder: Path, base: BaseImageReference, size_gib: int) -> MachineDisk:
    """A disk of size_gib GiB in a new folder with the marketplace image on it, saved.

    ConfigurationError for a version that is not build.UBR.date or a disk smaller than the image, UnknownProductError for an unknown build.
    """
    parsed = re.fullmatch(r"(\d+)\.(\d+)\.(\d{6})", base.version)
    if parsed is None:
        raise ConfigurationError(f"marketplace version {base.version} is not build.UBR.date", hint="for example 20348.5499.260809")
    product, ubr = product_of(int(parsed[1])), int(parsed[2])
    image_gib = SMALLDISK_GIB if "smalldisk" in base.sku.lower() else FULL_DISK_GIB
    if size_gib < image_gib:
        raise ConfigurationError(f"the OS disk has {size_gib} GiB, the image {base.sku} needs {image_gib}", hint="raise os_disk_gib")
    disk = MachineDisk(folder)
    disk.generation, disk.size_gib, disk.partition_gib = base.generation, size_gib, image_gib
    made = _image_date(parsed[3])
    for path in _FOLDERS:
        disk.path(path).mkdir(parents=True, exist_ok=True)
    for path, content in _FILES.items():
        disk.write(path, content)
    disk.write(COMPONENT, shipped_component(product.build, ubr).content)
    _write_version(disk, product, ubr)
    services.make_base_services(disk)
    for feature in FeatureCatalogue(product).features:
        features.set_feature_state(disk, feature, features.INSTALLED if feature.in_base else features.AVAILABLE)
    _add_packages(disk, product, ubr, made)
    set_platform(disk, "4.18.2001.10")
    set_signatures(disk, f"1.{made.year % 100 + 431}.{made.timetuple().tm_yday}.0", made)
    disk.save()
    return disk


def _image_date(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%y%m%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigurationError(f"marketplace version ends in {text}, which is no date", hint="build.UBR.yymmdd") from error


def _write_version(disk: MachineDisk, product: Product, ubr: int) -> None:
    version = disk.make_key(CURRENT_VERSION)
    version.set("ProductName", product.name)
    version.set("CurrentBuildNumber", str(product.build))
    version.set("CurrentBuild", str(product.build))
    version.set("CurrentMajorVersionNumber", 10)
    version.set("CurrentMinorVersionNumber", 0)
    version.set("CurrentVersion", "6.3")
    version.set("UBR", ubr)
    version.set("InstallationType", "Server Core")
    version.set("EditionID", "ServerDatacenter")
    version.set("DisplayVersion" if product.build > 17763 else "ReleaseId", product.display_version)
    version.set("BuildLabEx", product.lab)
    version.set("SystemRoot", r"C:\Windows")
    disk.make_key(SETUP_STATE).set("ImageState", GENERALIZED)
    select = disk.hives["SYSTEM"].make("Select")
    for name, number in (("Current", 1), ("Default", 1), ("Failed", 0), ("LastKnownGood", 1)):
        select.set(name, number)
    disk.make_key(rf"{COMPUTER_NAME}\ComputerName").set("ComputerName", "MINWINPC")
    disk.make_key(rf"{COMPUTER_NAME}\ActiveComputerName").set("ComputerName", "MINWINPC")


def _add_packages(disk: MachineDisk, product: Product, ubr: int, made: datetime) -> None:
    for capability in product.capabilities:
        cbs.add_capability(disk, capability, product.build)
        if capability.startswith("OpenSSH.Server"):
            add_openssh(disk)
    updates: list[tuple[str, str, int | None]] = [
        (side.kb, "Security Update" if side.kind == "servicing-stack" else "Update", None) for side in side_updates_in(product.build, ubr)
    ]
    checkpoint = checkpoint_before(product.build, ubr)
    if checkpoint is not None:
        # Later updates are differences to it: it stays listed beside them.
        updates.append((checkpoint.kb, "Security Update", None))
    updates.append((cumulative_update_kb(product.build, ubr), "Security Update", ubr))
    for kb, description, promised in updates:
        link = product.kb_link.format(number=kb.removeprefix("KB"))
        hotfix = cbs.HotFix(kb, description, link)
        cbs.add_update(disk, cbs.update_identity(kb, product.build, promised), hotfix, cbs.INSTALLED)
    title = f"Update for {product.defender_feature} antimalware platform - KB4052623 (Version 4.18.2001.10)"
    add_history(disk, title, made + timedelta(hours=6))
