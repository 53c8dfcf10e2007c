r"""What remote access leaves on a disk: WinRM listeners, machine certificates with their keys, firewall rules.

Listeners are below SOFTWARE\Microsoft\Windows\CurrentVersion\WSMAN\Listener, certificates below SOFTWARE\Microsoft\SystemCertificates\MY
with their keys in C:\ProgramData\Microsoft\Crypto\RSA\MachineKeys, firewall rules are values of
SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules ([MS-GPFAS] 2.2.2.19 has their grammar).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infra.local.machine.disk import MachineDisk

_LISTENERS = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WSMAN\Listener"
_CERTIFICATES = r"HKLM:\SOFTWARE\Microsoft\SystemCertificates\MY\Certificates"
_KEYS = r"C:\ProgramData\Microsoft\Crypto\RSA\MachineKeys"
_RULES = r"HKLM:\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules"
BLOCK_OUTBOUND_RULE = "winvhd-block-outbound"


@dataclass(frozen=True)
class Listener:
    """One WinRM listener."""

    transport: Literal["HTTP", "HTTPS"]
    port: int
    thumbprint: str
    host_name: str


def set_listener(disk: MachineDisk, listener: Listener) -> bool:
    """Make a listener on all addresses, in place of the one with the same transport; False when it was there exactly so."""
    if listener in listeners(disk):
        return False
    key = disk.make_key(rf"{_LISTENERS}\*+{listener.transport}")
    key.set("Port", listener.port)
    key.set("certThumbprint", listener.thumbprint)
    key.set("hostname", listener.host_name)
    key.set("enabled", 1)
    key.set("uriprefix", "wsman")
    return True


def listeners(disk: MachineDisk) -> tuple[Listener, ...]:
    """All listeners of the machine."""
    found = []
    for key in disk.make_key(_LISTENERS).keys.values():
        port, thumbprint, host = key.get("Port"), key.get("certThumbprint", ""), key.get("hostname", "")
        transport: Literal["HTTP", "HTTPS"] = "HTTPS" if key.name.upper().endswith("+HTTPS") else "HTTP"
        found.append(Listener(transport, port if isinstance(port, int) else 0, str(thumbprint), str(host)))
    return tuple(found)


def remove_listeners(disk: MachineDisk, *, https_only: bool = False) -> int:
    """Remove listeners; how many there were."""
    keys = disk.make_key(_LISTENERS).keys
    doomed = [name for name in keys if name.endswith("+https") or not https_only]
    for name in doomed:
        del keys[name]
    return len(doomed)


def store_certificate(disk: MachineDisk, thumbprint: str, certificate_der: bytes, key_pem: bytes) -> None:
    """Put a certificate and its private key into the machine's personal store."""
    disk.make_key(rf"{_CERTIFICATES}\{thumbprint.upper()}").set("Blob", certificate_der)
    disk.write(rf"{_KEYS}\{thumbprint.upper()}", key_pem)


def find_certificate(disk: MachineDisk, thumbprint: str) -> tuple[bytes, bytes] | None:
    """(certificate in DER, key in PEM), or None when the store has no such certificate."""
    key = disk.key(rf"{_CERTIFICATES}\{thumbprint.upper()}")
    blob = key.get("Blob") if key else None
    file = disk.path(rf"{_KEYS}\{thumbprint.upper()}")
    return (blob, file.read_bytes()) if isinstance(blob, bytes) and file.exists() else None


def certificates(disk: MachineDisk) -> tuple[str, ...]:
    """Thumbprints of all certificates in the machine's personal store, sorted."""
    return tuple(sorted(key.name for key in disk.make_key(_CERTIFICATES).keys.values()))


def remove_certificate(disk: MachineDisk, thumbprint: str) -> bool:
    """Remove a certificate and its key; True when one of them was there."""
    file = disk.path(rf"{_KEYS}\{thumbprint.upper()}")
    had_key = file.exists()
    file.unlink(missing_ok=True)
    return disk.make_key(_CERTIFICATES).remove_key(thumbprint.upper()) or had_key


def set_firewall_rule(
    disk: MachineDisk, name: str, *, action: Literal["Allow", "Block"], direction: Literal["In", "Out"], port: int | None = None
) -> bool:
    """Add or replace a firewall rule; False when it was there exactly so."""
    ports = f"Protocol=6|LPort={port}|" if port is not None else ""
    text = f"v2.31|Action={action}|Active=TRUE|Dir={direction}|{ports}Name={name}|"
    rules = disk.make_key(_RULES)
    if rules.get(name) == text:
        return False
    rules.set(name, text)
    return True


def firewall_rules(disk: MachineDisk) -> dict[str, str]:
    """Rule by name, in Windows' own notation."""
    return {name: str(data) for name, _, data in disk.make_key(_RULES).values.values()}


def remove_firewall_rule(disk: MachineDisk, name: str) -> bool:
    """True when the rule was there."""
    return disk.make_key(_RULES).remove_value(name)
