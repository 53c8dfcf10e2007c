"""The manifest that a Windows host takes of an index is the one that containerd would take."""

from __future__ import annotations

from typing import Any

import pytest

from images.container_platform import host_entry, platforms_of


def _entry(version: str = "", *, os: str = "windows", architecture: str = "amd64") -> dict[str, Any]:
    platform = {"os": os, "architecture": architecture} | ({"os.version": version} if version else {})
    return {"digest": f"sha256:{os}-{architecture}-{version}", "platform": platform}


LINUX = _entry(os="linux")
ARM = _entry("10.0.20348.5499", architecture="arm64")
EVERY_BUILD = _entry()
OF_2019, OF_2022, OF_2025 = _entry("10.0.17763.4252"), _entry("10.0.20348.5499"), _entry("10.0.26100.33296")
NEWER_2022 = _entry("10.0.20348.10001")
LATER = _entry("10.0.29000.1")


@pytest.mark.parametrize(
    ("build", "entries", "taken"),
    [
        (20348, [LINUX, OF_2019, OF_2022, OF_2025], OF_2022),
        (17763, [LINUX, OF_2019, OF_2022], OF_2019),
        # Before Windows Server 2022 only the host's own build will do.
        (17763, [OF_2022], None),
        (20348, [OF_2019], None),
        # Since then the newest one that is not newer than the host.
        (26100, [OF_2019, OF_2022], OF_2022),
        (26100, [OF_2025, OF_2022], OF_2025),
        (20348, [OF_2025], None),
        (26100, [LATER], None),
        # The UBR counts as a number.
        (20348, [OF_2022, NEWER_2022], NEWER_2022),
        # HostProcess images name no version; one that names the host's goes before them.
        (20348, [LINUX, EVERY_BUILD], EVERY_BUILD),
        (17763, [EVERY_BUILD], EVERY_BUILD),
        (20348, [EVERY_BUILD, OF_2022], OF_2022),
        (20348, [LINUX, ARM], None),
        (20348, [], None),
        (20348, [{}, {"platform": None}, "text", {"platform": []}], None),
        (20348, [_entry("11.0.20348.1"), _entry("10.0"), _entry("x")], None),
    ],
)
def test_a_host_takes_what_containerd_would(build: int, entries: list[Any], taken: dict[str, Any] | None) -> None:
    assert host_entry(entries, build) == taken


def test_what_there_is_is_listed_for_people() -> None:
    assert platforms_of([LINUX, OF_2019, OF_2019, EVERY_BUILD, {}]) == (
        "linux/amd64",
        "windows/amd64 10.0.17763.4252",
        "windows/amd64",
        "?/?",
    )
