r"""Local accounts, in the SAM hive where Windows keeps them: SAM\Domains\Account\Users\Names\<name> and Users\<RID>.

The value V holds the account's NT hash, which NTLM needs. Windows encrypts it with the machine's boot key; the model does not, since its
passwords are random and as long as their machine.
"""

from __future__ import annotations

import hmac
import shutil

from infra.local.machine.disk import MachineDisk, RegistryKey
from infra.local.machine.nt_hash import nt_hash

_USERS = r"HKLM:\SAM\Domains\Account\Users"
_PROFILES = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList"
_DOMAIN_SID = "S-1-5-21-1004336348-1177238915-682003330"
_ADMINISTRATOR_RID = 500
_FIRST_RID = 1000


def _users(disk: MachineDisk) -> RegistryKey:
    return disk.make_key(_USERS)


def account_names(disk: MachineDisk) -> tuple[str, ...]:
    """Names of all local accounts, sorted."""
    names = _users(disk).find("Names")
    return tuple(sorted((key.name for key in names.keys.values()), key=str.lower)) if names else ()


def set_account(disk: MachineDisk, name: str, password: str, *, rid: int | None = None) -> None:
    """Make an administrator account with its profile, or give an existing one another password."""
    users = _users(disk)
    entry = users.make(rf"Names\{name}")
    number = entry.get("")
    if not isinstance(number, int):
        used = [value for key in users.make("Names").keys.values() if isinstance(value := key.get(""), int)]
        number = rid or max([_FIRST_RID - 1, *used]) + 1
        entry.set("", number)
    users.make(f"{number:08X}").set("V", nt_hash(password))
    profile = disk.make_key(rf"{_PROFILES}\{_DOMAIN_SID}-{number}")
    profile.set("ProfileImagePath", rf"C:\Users\{name}", "REG_EXPAND_SZ")
    disk.path(rf"C:\Users\{name}\Documents").mkdir(parents=True, exist_ok=True)


def set_administrator(disk: MachineDisk, name: str, password: str) -> None:
    """The built-in administrator (RID 500) as Azure's provisioning makes it: renamed to the name of the osProfile."""
    users = _users(disk)
    for key in list(users.make("Names").keys.values()):
        if key.get("") == _ADMINISTRATOR_RID and key.name.lower() != name.lower():
            remove_account(disk, key.name)
    set_account(disk, name, password, rid=_ADMINISTRATOR_RID)


def stored_hash(disk: MachineDisk, name: str) -> bytes | None:
    """The NT hash of an account's password; None when there is no such account."""
    users = _users(disk)
    entry = users.find(rf"Names\{name}")
    number = entry.get("") if entry else None
    user = users.find(f"{number:08X}") if isinstance(number, int) else None
    stored = user.get("V") if user else None
    return stored if isinstance(stored, bytes) else None


def check_password(disk: MachineDisk, name: str, password: str) -> bool:
    """True when there is such an account and this is its password."""
    stored = stored_hash(disk, name)
    return stored is not None and hmac.compare_digest(stored, nt_hash(password))


def remove_account(disk: MachineDisk, name: str) -> bool:
    """Remove an account and its profile; True when something of it was there."""
    users = _users(disk)
    names = users.make("Names")
    entry = names.find(name)
    number = entry.get("") if entry else None
    removed = names.remove_key(name)
    if isinstance(number, int):
        users.remove_key(f"{number:08X}")
        profiles = disk.key(_PROFILES)
        if profiles is not None:
            profiles.remove_key(f"{_DOMAIN_SID}-{number}")
    folder = disk.path(rf"C:\Users\{name}")
    if folder.is_dir():
        shutil.rmtree(folder)
        removed = True
    return removed
