"""What a VM of a build is asked to be, and what it is once Azure has made it."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import SecretStr

Role = Literal["build", "test", "plain"]
"""build: where the image is made; test: boots the captured VHD; plain: boots the base image, to compare with."""

ADMIN_NAME = "nodeadmin"
"""Not the build account of first contact: the image's administrator is whoever boots it next."""


@dataclass(frozen=True)
class MarketplaceImage:
    """A marketplace image with its exact version."""

    publisher: str
    offer: str
    sku: str
    version: str


@dataclass(frozen=True)
class ManagedImage:
    """A managed image by its resource id."""

    image_id: str


@dataclass(frozen=True)
class ExistingDisk:
    """An OS disk that already holds an installed Windows: attached as it is, without osProfile, in its own zone."""

    disk_id: str
    zone: str | None = None


VmSource = MarketplaceImage | ManagedImage | ExistingDisk
MakeSource = Callable[[str], VmSource]
"""Makes in a resource group what a VM starts from."""


@dataclass(frozen=True)
class VmRequest:
    """One VM: where its disk comes from, how large it is, and who may reach it."""

    source: VmSource | MakeSource
    generation: Literal["V1", "V2"]
    os_disk_gib: int
    winrm_port: int
    source_address: str = "*"
    """The only address that may connect (an address, CIDR range or service tag); "*" suits the stand-in only."""
    role: Role = "build"
    trusted_launch: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the VM alone, besides those of the build."""


@dataclass(frozen=True)
class BuildVm:
    """A VM that exists, with what is needed to work on it or to find it again."""

    resource_group: str
    name: str
    vm_id: str
    os_disk_name: str
    os_disk_id: str
    network_security_group: str
    address: str
    """Public address, where WinRM is dialled."""
    size: str
    zone: str | None
    role: Role
    winrm_port: int
    """Where its guest listens, once first contact was made."""
    admin_password: SecretStr | None = field(default=None, repr=False, compare=False)
    """Only in the process that made the VM; a VM taken over, or made from an existing disk, has none."""


def new_admin_password(length: int = 32) -> SecretStr:
    """A random password that Windows and Azure accept: lower and upper case, digits and signs, 12 to 123 characters.

    Rules: https://learn.microsoft.com/azure/virtual-machines/windows/faq (password requirements).
    """
    # Signs that neither a command line, nor XML, nor JSON treats specially.
    classes = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "-_.+=@")
    picked = [secrets.choice(kind) for kind in classes]
    picked += [secrets.choice("".join(classes)) for _ in range(length - len(picked))]
    secrets.SystemRandom().shuffle(picked)
    return SecretStr("".join(picked))


def computer_name(role: Role, build_id: str) -> str:
    """A NetBIOS name (at most 15 characters) that tells role and build."""
    tail = "".join(character for character in build_id.lower() if character.isascii() and character.isalnum())
    return f"{role}{tail}"[:15]
