"""An update that is listed and followed is locked once: with what the definition says of it, and the feed for the rest."""

from __future__ import annotations

import pytest

from tasks.choose_updates import UpdateSource, _merged

FEED = UpdateSource("KB5120242", "https://catalog.example.com/a.msu", "ab" * 32, "20348.5499", preview=True, checkpoint=True)
OTHER = UpdateSource("KB5120241", "https://catalog.example.com/b.msu", None, None)


def listed(url: str | None = None, build: str | None = None) -> UpdateSource:
    return UpdateSource("KB5120242", url, None, build)


@pytest.mark.parametrize("url", [None, FEED.url], ids=["no URL", "the feed's URL"])
def test_the_feeds_hash_stays_with_the_feeds_file(url: str | None) -> None:
    assert list(_merged([listed(url)], [FEED])) == [FEED]


def test_a_file_of_ones_own_does_not_get_the_feeds_hash_and_stays_a_checkpoint() -> None:
    (merged,) = _merged([listed("https://mirror.example.com/a.msu")], [FEED])
    assert (merged.url, merged.sha256) == ("https://mirror.example.com/a.msu", None)
    assert (merged.build, merged.preview, merged.checkpoint) == ("20348.5499", True, True)


def test_the_definitions_build_goes_before_the_feeds() -> None:
    (merged,) = _merged([listed(build="20348.5500")], [FEED])
    assert merged.build == "20348.5500"


def test_what_is_listed_comes_first_and_each_once() -> None:
    assert [source.kb for source in _merged([OTHER, listed()], [FEED])] == ["KB5120241", "KB5120242"]
    assert list(_merged([], [FEED, OTHER])) == [FEED, OTHER]
