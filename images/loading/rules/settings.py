"""Rules about registry values and system settings."""

from __future__ import annotations

from collections.abc import Iterator

from images.loading.parts import Fault, Parts, Placed
from images.loading.rules.content import twice

_AUTO_UPDATE = r"hklm:\software\policies\microsoft\windows\windowsupdate\au"
_UPDATE_SERVICE = r"hklm:\system\currentcontrolset\services\wuauserv"


def setting_rules(parts: Parts) -> Iterator[Fault]:
    """A registry value is set once, and not behind the back of the setting that owns it."""
    yield from twice(
        "registry value", (Placed(each.at, f"{each.value.path.rstrip(chr(92))}\\{each.value.name}") for each in parts.registry)
    )
    for setting in parts.registry:
        key, name = setting.value.path.rstrip("\\").casefold(), setting.value.name.casefold()
        if key == _AUTO_UPDATE and name == "noautoupdate":
            yield Fault(setting.at, "the Windows Update policy has a setting of its own", "use system.windows_update_off")
        if key == _UPDATE_SERVICE and name == "start":
            yield Fault(
                setting.at,
                "the Windows Update service must stay enabled",
                "wusa, capabilities and Defender need it (exit code 1058); system.windows_update_off sets the policy instead",
            )
        if r"\system\controlset00" in key:
            yield Fault((*setting.at, "path"), "names one numbered control set", "write CurrentControlSet")
    yield from twice("excluded UDP port", (Placed(each.at, str(each.value)) for each in _ports(parts)))


def _ports(parts: Parts) -> Iterator[Placed[int]]:
    for index, port in enumerate(parts.system.excluded_udp_ports):
        yield Placed(("system", "excluded_udp_ports", index), port)
