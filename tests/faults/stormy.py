"""One finished build that met every kind of bad luck a build survives, with everything it said and the secrets it used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from infra.azure.profile import CloudProfile
from infra.azure.vm_request import new_admin_password
from infra.guest.contact import new_password
from tests.faults.conftest import PACKAGE


@dataclass(frozen=True)
class StormyBuild:
    """What the build gave, how often each fault struck, all log lines of the process, and every password that was made."""

    result: dict[str, Any]
    struck: dict[str, int]
    log: str
    passwords: tuple[str, ...]


WEATHER: tuple[dict[str, Any], ...] = (
    {"point": "arm.vm.allocate", "fault": {"code": "AllocationFailed", "status": 409}},
    {"point": "origin.fetch", "key": PACKAGE.format(name="stormy"), "fault": {"code": "corrupt"}},
    {"point": "guest.winrm-drop", "key": "*/build", "skip": 5, "fault": {"code": "dropped"}},
    *({"point": "guest.winrm", "key": "*/build", "skip": skip, "fault": {"code": "dropped"}} for skip in range(7, 100, 13)),
    {"point": "guest.reboot-mid-stage", "key": "Save-CachedFile.ps1 */build", "fault": {"code": "restart"}},
    {"point": "arm.request", "times": 3, "probability": 0.1, "fault": {"code": "TooManyRequests", "status": 429, "retry_after_s": 1}},
    {"point": "arm.request", "times": 3, "probability": 0.1, "fault": {"code": "ServiceUnavailable", "status": 503}},
    {"point": "arm.request", "key": "GET *", "times": 5, "probability": 0.1, "fault": {"code": "InternalServerError", "status": 500}},
)
"""Each rule ends, so that the build is not slowed by more than seconds. Lost requests lie apart: a short stage is tried three times."""


@contextmanager
def watching(patch: pytest.MonkeyPatch) -> Iterator[tuple[list[str], list[str]]]:
    """(log lines, passwords) of this process while the block runs; both lists fill as it goes on."""
    lines: list[str] = []
    passwords: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    def kept(make: Callable[[], Any]) -> Callable[[], Any]:
        def made() -> Any:
            password = make()
            passwords.append(password.get_secret_value() if isinstance(password, SecretStr) else password)
            return password

        return made

    patch.setattr("infra.guest.contact.new_password", kept(new_password))
    patch.setattr("infra.azure.build_vm.new_admin_password", kept(new_admin_password))
    keeper = Keeper(logging.DEBUG)
    # Prefect's own loggers do not hand their records up to the root.
    loggers = [logging.getLogger(name) for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs")]
    for logger in loggers:
        logger.addHandler(keeper)
    try:
        yield lines, passwords
    finally:
        for logger in loggers:
            logger.removeHandler(keeper)


def secrets_of(build: StormyBuild, profile: CloudProfile) -> list[bytes]:
    """Passwords and storage keys, as they would be found in a file: in UTF-8, and as Windows writes them."""
    keys = [access.key.get_secret_value() for access in (profile.storage, *profile.copy_targets) if access.key is not None]
    return [secret.encode(encoding) for secret in (*build.passwords, *keys) for encoding in ("utf-8", "utf-16-le")]
