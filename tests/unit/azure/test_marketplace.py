"""Image versions compare as numbers."""

from __future__ import annotations

import pytest

from infra.azure.marketplace import choose_version, format_version, newest_first, parse_version

AVAILABLE = newest_first(["20348.999.250101", "20348.2762.241006", "26100.1.240101", "nightly", "17763.6293.240905"])


def test_newest_is_by_number_not_by_letters() -> None:
    assert [format_version(version) for version in newest_first(["20348.999.250101", "20348.2762.241006"])] == [
        "20348.2762.241006",
        "20348.999.250101",
    ]


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("latest", "26100.1.240101"),
        ("20348.*", "20348.2762.241006"),
        ("20348.999.*", "20348.999.250101"),
        ("17763.6293.240905", "17763.6293.240905"),
        ("2034.*", None),
        ("20348.1.1", None),
    ],
)
def test_wanted_version_is_found(wanted: str, chosen: str | None) -> None:
    found = choose_version(wanted, AVAILABLE)
    assert (format_version(found) if found else None) == chosen


def test_nothing_available_chooses_nothing() -> None:
    assert choose_version("latest", []) is None


@pytest.mark.parametrize("text", ["20348", "20348.1", "20348.1.1.1", "a.b.c", "-1.2.3"])
def test_other_texts_are_no_versions(text: str) -> None:
    with pytest.raises(ValueError, match="not an image version"):
        parse_version(text)
