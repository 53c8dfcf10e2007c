r"""The boot configuration's options and what Windows started with.

bcdedit changes the store, here C:\Boot\BCD as lines `option value` (the model's disks have no system partition of their own). At the next
start they become Control\SystemStartOptions, where a running Windows shows them.
https://learn.microsoft.com/windows-hardware/drivers/install/the-testsigning-boot-configuration-option
"""

from __future__ import annotations

from infra.local.machine.disk import MachineDisk

_STORE = r"C:\Boot\BCD"
_CONTROL = r"HKLM:\SYSTEM\CurrentControlSet\Control"
_VALUE = "SystemStartOptions"
_ALWAYS = "NOEXECUTE=OPTOUT"


def set_test_signing(disk: MachineDisk) -> bool:
    """bcdedit /set testsigning on; False when it was on already. It counts from the next start."""
    if "testsigning" in _options(disk):
        return False
    disk.write(_STORE, "".join(f"{option} Yes\r\n" for option in (*_options(disk), "testsigning")).encode())
    return True


def clear_test_signing(disk: MachineDisk) -> None:
    """Take test signing out of the store, as a boot configuration that is made anew has it. It counts from the next start."""
    disk.write(_STORE, "".join(f"{option} Yes\r\n" for option in _options(disk) if option != "testsigning").encode())


def start_with_options(disk: MachineDisk) -> None:
    """Show the store's options as those that Windows started with."""
    shown = [_ALWAYS, *(["TESTSIGNING"] if "testsigning" in _options(disk) else [])]
    disk.make_key(_CONTROL).set(_VALUE, " " + " ".join(shown))


def is_test_signing(disk: MachineDisk) -> bool:
    """True when this Windows started with test signing on."""
    return "TESTSIGNING" in str(disk.make_key(_CONTROL).get(_VALUE, "")).split()


def _options(disk: MachineDisk) -> tuple[str, ...]:
    file = disk.path(_STORE)
    return tuple(line.split(" ", 1)[0] for line in file.read_text(encoding="utf-8").splitlines()) if file.exists() else ()
