r"""The OpenSSH server of Windows: program and default configuration, host keys, sshd_config.

The first start copies sshd_config_default to C:\ProgramData\ssh and makes host keys there
(https://learn.microsoft.com/en-us/windows-server/administration/openssh/openssh-server-configuration).
"""

from __future__ import annotations

import os
import re

from infra.local.machine import services
from infra.local.machine.disk import MachineDisk

PROGRAM = r"C:\Windows\System32\OpenSSH\sshd.exe"
DEFAULT_CONFIG = r"C:\Windows\System32\OpenSSH\sshd_config_default"
FOLDER = r"C:\ProgramData\ssh"
CONFIG = rf"{FOLDER}\sshd_config"
_KEY_KINDS = ("ecdsa", "ed25519", "rsa")
_DEFAULTS = (
    "#Port 22",
    "#PubkeyAuthentication yes",
    "AuthorizedKeysFile\t.ssh/authorized_keys",
    "#PasswordAuthentication yes",
    "#PermitEmptyPasswords no",
    "Subsystem\tsftp\tsftp-server.exe",
    "Match Group administrators",
    "       AuthorizedKeysFile __PROGRAMDATA__/ssh/administrators_authorized_keys",
)


def add_openssh(disk: MachineDisk) -> None:
    """What the capability OpenSSH.Server brings; the service does not start by itself."""
    disk.write(PROGRAM, b"MZ\x90\x00sshd")
    disk.write(DEFAULT_CONFIG, ("\r\n".join(_DEFAULTS) + "\r\n").encode())
    services.set_service(disk, "sshd", services.MANUAL, image_path=PROGRAM)


def start_openssh(disk: MachineDisk) -> None:
    """What a start of sshd makes when it is not there: configuration and host keys."""
    if not disk.path(CONFIG).exists():
        disk.write(CONFIG, disk.path(DEFAULT_CONFIG).read_bytes())
    for kind in _KEY_KINDS:
        if not disk.path(rf"{FOLDER}\ssh_host_{kind}_key").exists():
            secret = os.urandom(32).hex()
            disk.write(rf"{FOLDER}\ssh_host_{kind}_key", f"{kind} private {secret}\n".encode())
            disk.write(rf"{FOLDER}\ssh_host_{kind}_key.pub", f"{kind} public {secret[:16]}\n".encode())


def remove_host_keys(disk: MachineDisk) -> tuple[str, ...]:
    """Host keys must differ from node to node, so none may be on an image; paths of those removed."""
    folder = disk.path(FOLDER)
    keys = sorted(folder.glob("ssh_host_*_key*")) if folder.is_dir() else []
    for key in keys:
        key.unlink()
    return tuple(rf"{FOLDER}\{key.name}" for key in keys)


def set_keyword(lines: list[str], keyword: str, value: str) -> list[str]:
    """The configuration with a keyword set before any Match block; the first value counts, other lines that set it go."""
    match = next((index for index, line in enumerate(lines) if re.match(r"\s*Match\s", line)), len(lines))
    settings = [line for line in lines[:match] if not re.match(rf"\s*#?\s*{keyword}\s", line)]
    return [f"{keyword} {value}", *settings, *lines[match:]]
