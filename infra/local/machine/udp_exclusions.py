r"""UDP ports kept from dynamic use: what `netsh int ipv4 add excludedportrange protocol=udp store=persistent` writes.

SYSTEM\CurrentControlSet\Control\Nsi\{eb004a02-9b1a-11d4-9123-0050047759bc}\5: a value for each range, named by four hex digits of the first
port and four of the number of ports with their bytes swapped, data 12 00 ff ff (https://bigfix.me/fixlet/details/27007).
"""

from __future__ import annotations

from infra.local.machine.disk import MachineDisk

_EXCLUSIONS = r"HKLM:\SYSTEM\CurrentControlSet\Control\Nsi\{eb004a02-9b1a-11d4-9123-0050047759bc}\5"
_DATA = bytes.fromhex("1200ffff")


def exclude_udp_port(disk: MachineDisk, port: int) -> bool:
    """Exclude one port; False when it was excluded already."""
    if port in excluded_udp_ports(disk):
        return False
    disk.make_key(_EXCLUSIONS).set(f"{port:04x}0100", _DATA)
    return True


def excluded_udp_ports(disk: MachineDisk) -> tuple[int, ...]:
    """All excluded ports, sorted."""
    ports: set[int] = set()
    for name, _, _ in disk.make_key(_EXCLUSIONS).values.values():
        raw = bytes.fromhex(name)
        first, count = int.from_bytes(raw[:2], "big"), int.from_bytes(raw[2:], "little")
        ports.update(range(first, first + count))
    return tuple(sorted(ports))
