"""The stand-in's releases as a feed file (docs/update-feed.md): with previews, which the MSRC does not list, and with URLs and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from typing import Any

import yaml

from infra.local.origin.msrc import FIRST_MONTH
from infra.local.origin.update_calendar import CUMULATIVE_UPDATES, SIDE_UPDATES, CumulativeUpdate, SideUpdate
from infra.local.origin.windows_releases import download_url

_PRODUCTS = {17763: "Windows Server 2019", 20348: "Windows Server 2022", 26100: "Windows Server 2025"}
_KINDS = {"b-release": "cumulative", "out-of-band": "cumulative"}


def feed_document(day: date | None, body_of: Callable[[str], bytes]) -> str:
    """All updates since October 2025 that were released by a day (None: all), and the checkpoints that they need."""
    known: tuple[CumulativeUpdate | SideUpdate, ...] = (*CUMULATIVE_UPDATES, *SIDE_UPDATES)
    shown = [
        each
        for each in known
        if (f"{each.released:%Y-%m}" >= FIRST_MONTH or each.kind == "checkpoint") and (day is None or each.released <= day)
    ]
    updates = [_entry(each, body_of(download_url(each))) for each in shown]
    return yaml.safe_dump({"schema_version": 1, "updates": updates}, sort_keys=False, width=200)


def _entry(update: CumulativeUpdate | SideUpdate, body: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "kb": update.kb,
        "products": [_PRODUCTS[update.build]],
        "windows_build": update.build,
        "kind": _KINDS.get(update.kind, update.kind),
        "released": update.released.isoformat(),
        "restart_required": update.kind != "servicing-stack",
        "url": download_url(update),
        "sha256": hashlib.sha256(body).hexdigest(),
        "size_bytes": len(body),
    }
    if isinstance(update, CumulativeUpdate):
        entry["fixed_build"] = update.fixed_build
        before = [each.kb for each in CUMULATIVE_UPDATES if each.build == update.build and each.ubr < update.ubr]
        entry["supersedes"] = before[-1:]
    return entry
