"""Checkpoint updates: cumulative updates that later ones are differences to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

KNOWN_CHECKPOINTS: Mapping[str, str] = MappingProxyType({"KB5043080": "26100.1742"})
"""Checkpoints that the MSRC's feed does not mark as such, and the build.UBR that each brings: the one of September 2024.

https://learn.microsoft.com/windows/deployment/update/catalog-checkpoint-cumulative-updates. A later one is recognized by the Update
Catalog, which lists it beside the updates that build on it, or by a feed file, which says so.
"""
