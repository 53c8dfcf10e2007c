"""Tags tell owner and expiry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from infra.azure.tags import BuildTags, expiry, format_time, is_ours

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def test_tags_name_build_run_expiry_creator_and_scope() -> None:
    tags = BuildTags(build_id="b1", flow_run_id="f1", expires_at=NOON, scope="private")
    assert tags.to_azure() == {
        "build_id": "b1",
        "flow_run_id": "f1",
        "expires_at": "2026-03-10T12:00:00Z",
        "created-by": "winvhd",
        "scope": "private",
    }


def test_times_are_written_in_utc() -> None:
    assert format_time(NOON.astimezone(timezone(timedelta(hours=-8)))) == "2026-03-10T12:00:00Z"


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        format_time(datetime(2026, 3, 10))


def test_expiry_reads_back_what_was_written() -> None:
    assert expiry(BuildTags(build_id="b", expires_at=NOON).to_azure()) == NOON


@pytest.mark.parametrize(("tags", "expected"), [(None, None), ({}, None), ({"expires_at": "next week"}, "unreadable")])
def test_missing_and_unreadable_expiry_are_told_apart(tags: dict[str, str] | None, expected: str | None) -> None:
    assert expiry(tags) == expected


def test_only_our_tag_makes_it_ours() -> None:
    assert is_ours({"created-by": "winvhd"})
    assert not is_ours({"created-by": "packer"})
    assert not is_ours(None)
