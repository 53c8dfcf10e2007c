"""FILETIME: Windows' own clock, 100-nanosecond ticks since 1601-01-01 UTC, as eight little-endian bytes in registry values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def to_filetime(moment: datetime) -> bytes:
    """The eight bytes of a moment with time zone."""
    return ((moment - _EPOCH) // timedelta(microseconds=1) * 10).to_bytes(8, "little")


def from_filetime(raw: bytes) -> datetime:
    """The moment behind eight bytes, UTC."""
    return _EPOCH + timedelta(microseconds=int.from_bytes(raw, "little") // 10)


def iso(moment: datetime) -> str:
    """A moment as text: ISO 8601, UTC, whole seconds, ending in Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
