"""Which manifest of a container image's index a Windows host takes.

The rule is containerd's: https://github.com/containerd/platforms, platform_windows_compat.go (checkWindowsHostAndContainerCompat,
windowsVersionMatcher, windowsMatchComparer). A host older than Windows Server 2022 needs its own build; since then the kernel's interface
is stable, and a host also takes builds from 20348 up to its own. An entry without os.version fits every host: that is how images for
HostProcess containers are published (https://github.com/containerd/containerd/issues/7431).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

STABLE_SINCE_BUILD: Final = 20348
"""Windows Server 2022, the first release whose images later hosts take too."""

_VERSION = re.compile(r"10\.0\.(\d{1,9})(?:\.(\d{1,9}))?")


def host_entry(entries: Iterable[Any], windows_build: int) -> Mapping[str, Any] | None:
    """The entry of an index that a windows/amd64 host of this build takes, None when it has none.

    It is the newest that fits; one for every build comes last.
    """
    best: tuple[tuple[int, int], Mapping[str, Any]] | None = None
    for entry in entries:
        platform = _platform(entry)
        if platform.get("os") != "windows" or platform.get("architecture") != "amd64":
            continue
        rank = _rank(str(platform.get("os.version") or ""), windows_build)
        if rank is not None and (best is None or rank > best[0]):
            best = rank, entry
    return best[1] if best else None


def platforms_of(entries: Iterable[Any]) -> tuple[str, ...]:
    """What an index holds, for people: os/architecture and, where it is given, the version of Windows; in its order, each once."""
    shown = []
    for entry in entries:
        platform = _platform(entry)
        name = f"{platform.get('os', '?')}/{platform.get('architecture', '?')}"
        shown.append(f"{name} {platform['os.version']}" if platform.get("os.version") else name)
    return tuple(dict.fromkeys(shown))


def _platform(entry: Any) -> Mapping[str, Any]:
    platform = entry.get("platform") if isinstance(entry, Mapping) else None
    return platform if isinstance(platform, Mapping) else {}


def _rank(version: str, host: int) -> tuple[int, int] | None:
    """(build, UBR) of an entry that fits the host, None of another."""
    if not version:
        return (0, 0)
    found = _VERSION.fullmatch(version)
    if found is None:
        return None
    build = int(found[1])
    fits = build == host or STABLE_SINCE_BUILD <= build < host
    return (build, int(found[2] or 0)) if fits else None
