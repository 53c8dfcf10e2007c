"""What the body of a VM's PUT asks for, checked against what Azure refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.local.arm.access import access_until
from infra.local.arm.cloud import Cloud
from infra.local.arm.disk_content import checked_size_gib
from infra.local.arm.errors import ArmError, invalid, not_allowed, not_implemented
from infra.local.arm.kinds import DISK, IMAGE
from infra.local.arm.marketplace import PlatformImage, platform_image
from infra.local.arm.sizes import checked_size
from infra.local.contracts import OsProfile
from infra.local.state import Json, Resource

RESERVED_USERS = re.compile(
    r"administrator|admin[123]?|user[1-5]?|test[123]?|1|123|a|actuser|adm|aspnet|backup|console|david|guest|john|owner|root|server|sql"
    r"|support|support_388945a0|sys",
    re.IGNORECASE,
)
"""learn.microsoft.com, "FAQ about Windows VMs": user names that can not be used."""


@dataclass(frozen=True)
class MachineWish:
    """A VM to be made; exactly one of platform, image and disk is set: where its OS disk comes from."""

    size: str
    os_profile: OsProfile | None
    platform: PlatformImage | None
    image: Resource | None
    disk: Resource | None
    os_disk_gib: int
    generation: str
    trusted_launch: bool
    secure_boot: bool


def read_wish(cloud: Cloud, vm: Resource) -> MachineWish:
    """The wish in a VM's document; raises ArmError for all that Azure refuses before it starts."""
    properties = vm.properties
    size = checked_size(cloud, (properties.get("hardwareProfile") or {}).get("vmSize"))
    storage = properties.get("storageProfile") or {}
    os_disk = storage.get("osDisk") or {}
    if storage.get("dataDisks"):
        raise not_implemented("PUT", "virtualMachines with data disks")
    security = properties.get("securityProfile") or {}
    trusted = security.get("securityType") == "TrustedLaunch"
    if security.get("securityType") not in (None, "Standard", "TrustedLaunch"):
        raise not_implemented("PUT", f"virtualMachines with securityType {security.get('securityType')!r}")
    platform = image = disk = None
    if os_disk.get("createOption") == "Attach":
        disk = _attached_disk(cloud, vm, os_disk)
        if properties.get("osProfile"):
            raise invalid("Parameter 'osProfile' is not allowed.", "osProfile")
        os_disk_gib, generation = disk.properties["diskSizeGB"], disk.properties.get("hyperVGeneration", "V1")
        profile = None
    elif os_disk.get("createOption") == "FromImage":
        reference = storage.get("imageReference") or {}
        platform, image = _source_image(cloud, vm, reference)
        if platform is not None:
            smallest, generation = platform.size_gib, platform.generation
            reference["exactVersion"] = platform.version
        elif image is not None:
            smallest, generation = image.properties["storageProfile"]["osDisk"]["diskSizeGB"], image.properties["hyperVGeneration"]
        os_disk_gib = checked_size_gib(os_disk.get("diskSizeGB"), smallest)
        profile = _os_profile(properties.get("osProfile"))
    else:
        raise invalid("Required parameter 'storageProfile.osDisk.createOption' is missing or not FromImage or Attach.", "createOption")
    if trusted and (generation != "V2" or image is not None):
        # Code and message as reported in Azure/azure-cli#27975.
        raise ArmError(
            400,
            "BadRequest",
            "Use of TrustedLaunch setting is not supported for the provided image. Please select Trusted Launch Supported Gen2 OS Image.",
        )
    uefi = security.get("uefiSettings") or {}
    if uefi and not trusted:
        raise ArmError(400, "BadRequest", "UefiSettings can only be set when securityType is TrustedLaunch or ConfidentialVM.")
    return MachineWish(
        size, profile, platform, image, disk, os_disk_gib, generation, trusted, trusted and bool(uefi.get("secureBootEnabled"))
    )


def _attached_disk(cloud: Cloud, vm: Resource, os_disk: Json) -> Resource:
    if os_disk.get("osType") != "Windows":
        raise invalid("Required parameter 'osDisk.osType' is missing or not Windows.", "osDisk.osType")
    disk_id = (os_disk.get("managedDisk") or {}).get("id", "")
    disk = cloud.store.get(disk_id)
    if disk is None or disk.type != DISK:
        raise ArmError(404, "ResourceNotFound", f"The disk '{disk_id}' was not found.")
    if disk.location != vm.location:
        raise invalid(f"Disk {disk_id} is in region {disk.location}, the virtual machine in {vm.location}.", "osDisk.managedDisk.id")
    owner = disk.document.get("managedBy")
    if owner is not None and owner.lower() != vm.id.lower():
        raise ArmError(409, "ConflictingUserInput", f"Disk '{disk.name}' cannot be attached as the disk is already owned by VM '{owner}'.")
    if not cloud.disks.exists(disk.properties["uniqueId"]):
        raise not_implemented("PUT", f"virtualMachines on the empty disk {disk.name}")
    refuse_open_access(disk)
    return disk


def refuse_open_access(disk: Resource) -> None:
    """Raises ArmError while a disk is readable through a SAS: no VM may run from it then."""
    if access_until(disk) is not None:
        raise not_allowed(f"Disk {disk.name} has an active shared access signature. Call EndGetAccess before using it.")


def _source_image(cloud: Cloud, vm: Resource, reference: Json) -> tuple[PlatformImage | None, Resource | None]:
    if reference.get("id"):
        if f"/{IMAGE.lower()}/" not in reference["id"].lower():
            raise not_implemented("PUT", f"virtualMachines from image {reference['id']}")
        image = cloud.store.get(reference["id"])
        if image is None or image.properties["provisioningState"] != "Succeeded":
            raise ArmError(404, "ImageNotFound", f"The Image '{reference['id']}' cannot be found.", target="imageReference")
        if image.location != vm.location:
            raise invalid(f"The image {reference['id']} is in region {image.location}, not in {vm.location}.", "imageReference")
        return None, image
    names = [reference.get(name) for name in ("publisher", "offer", "sku", "version")]
    if not all(isinstance(name, str) and name for name in names):
        raise invalid("Required parameter 'imageReference' is missing (null).", "imageReference")
    publisher, offer, sku, version = map(str, names)
    return platform_image(publisher, offer, sku, version, cloud.today.day), None


def _os_profile(profile: Json | None) -> OsProfile:
    if not profile:
        raise invalid("Required parameter 'osProfile' is missing (null).", "osProfile")
    name, user, password = (str(profile.get(key) or "") for key in ("computerName", "adminUsername", "adminPassword"))
    if not re.fullmatch(r"(?!\d+$)[A-Za-z0-9-]{1,15}", name):
        raise invalid(f"Windows computer name '{name}' must be 1 to 15 letters, digits and hyphens, and not only digits.", "computerName")
    if not 1 <= len(user) <= 20 or user.endswith(".") or RESERVED_USERS.fullmatch(user):
        raise invalid("The Admin Username specified is not allowed.", "adminUsername")
    kinds = sum(bool(re.search(pattern, password)) for pattern in (r"[a-z]", r"[A-Z]", r"\d", r"[\W_]"))
    if not 12 <= len(password) <= 123 or kinds < 3:
        raise invalid(
            "The supplied password must be between 12-123 characters long and must satisfy at least 3 of password complexity requirements.",
            "adminPassword",
        )
    return OsProfile(name, user, password)
