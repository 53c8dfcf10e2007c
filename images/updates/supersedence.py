"""Which update replaces which: the feed's free text as KB numbers, and the chains that they make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_KB = re.compile(r"(?:KB)?\s*(\d{6,8})", re.IGNORECASE)
_SEPARATORS = re.compile(r"[;,/\s]+")


def kb_number(text: str) -> str | None:
    """KB5120242 for "5120242", "kb5120242" and "KB 5120242"; None for anything else, such as "Release Notes"."""
    found = _KB.fullmatch(text.strip())
    return f"KB{found[1]}" if found else None


def superseded_kbs(text: str | None, own_kb: str) -> tuple[str, ...]:
    """The KBs in a Supercedence field, sorted, each once and without the update's own.

    The field holds one number or several, split by semicolons or commas, with or without "KB", and sometimes the update itself.

    >>> superseded_kbs("5111111; KB5122222,5133333", "KB5133333")
    ('KB5111111', 'KB5122222')
    """
    parts = _SEPARATORS.split(re.sub(r"(?i)\bKB\s+(?=\d)", "KB", text or ""))
    return tuple(sorted({kb for part in parts if (kb := kb_number(part)) is not None and kb != own_kb}))


def replaced_by(supersedes: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """For each KB that another one in the mapping replaces, directly or through others, one of those at the end of the chain.

    A chain that runs in a circle has no end: its members are left out.
    """
    direct: dict[str, list[str]] = {}
    for newer, olds in sorted(supersedes.items()):
        for old in olds:
            if old != newer:
                direct.setdefault(old, []).append(newer)
    found: dict[str, str] = {}
    for kb in direct:
        waiting, seen = [kb], {kb}
        while waiting:
            current = waiting.pop()
            above = [newer for newer in direct.get(current, []) if newer not in seen]
            if current != kb and not direct.get(current):
                found[kb] = max(found.get(kb, ""), current, key=_kb_order)
            seen.update(above)
            waiting.extend(above)
    return found


def _kb_order(kb: str) -> int:
    return int(kb.removeprefix("KB") or 0)
