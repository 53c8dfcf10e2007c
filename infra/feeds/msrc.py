"""The Microsoft Security Response Center's list of security updates, month by month: CVRF API, version 3, which needs no key.

https://github.com/microsoft/MSRC-Microsoft-Security-Updates-API. It knows KB, product, supersedence, fixed build and CVEs; it has no file
URLs, no hashes of files, and no optional previews.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from images.updates.feed import FeedUpdate
from images.updates.merging import merge_updates
from images.updates.patch_week import Month, b_release, month_numbers
from infra.feeds.exchange import FeedServer
from infra.feeds.msrc_document import CvrfDocument, MonthEntry, MonthList, release_day, updates_of

API = "https://api.msrc.microsoft.com/cvrf/v3.0"
_ABBREVIATIONS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Written out: calendar.month_abbr follows the machine's language."""
_JSON = "application/json"
Answer = TypeVar("Answer", bound=BaseModel)


def month_id(month: Month) -> str:
    """2026-Aug for 2026-08; ValueError when the text is no month."""
    year, number = month_numbers(month)
    return f"{year}-{_ABBREVIATIONS[number - 1]}"


def month_of_id(identifier: str) -> Month | None:
    """2026-08 for 2026-Aug; None for the few ids that name no whole month, such as 2017-May-B."""
    year, _, name = identifier.partition("-")
    if name not in _ABBREVIATIONS or not (year.isdecimal() and len(year) == 4):
        return None
    return f"{year}-{_ABBREVIATIONS.index(name) + 1:02d}"


class MsrcFeed:
    """Reads the API through one HTTP client; `route` gives the address to ask for a public URL."""

    def __init__(self, client: httpx.Client, route: Callable[[str], str], *, first_wait_s: float = 1.0) -> None:
        self._server = FeedServer(client, route, name="the MSRC's update feed", first_wait_s=first_wait_s)

    def months(self) -> tuple[Month, ...]:
        """The months that have a document, old to new; FeedError when the feed is down or malformed."""
        return tuple(sorted(self._entries()))

    def updates(self, months: Sequence[Month]) -> tuple[FeedUpdate, ...]:
        """The updates of these months for our Windows builds; a month without a document has none.

        Raises FeedError when the feed is down or malformed, ValueError when a text is no month.
        """
        wanted = {month: b_release(month) for month in months}
        entries = self._entries()
        return merge_updates(update for month in wanted if month in entries for update in self._month(month, entries[month]))

    def _entries(self) -> dict[Month, MonthEntry]:
        url = f"{API}/updates"
        found = self._read(url, MonthList)
        if found is None:
            raise self._server.malformed("there is no list of months", url)
        by_month = {month_of_id(entry.ID): entry for entry in found.value}
        return {month: entry for month, entry in by_month.items() if month is not None}

    def _month(self, month: Month, entry: MonthEntry) -> Sequence[FeedUpdate]:
        url = f"{API}/cvrf/{entry.ID}"
        document = self._read(url, CvrfDocument)
        if document is None:
            raise self._server.malformed(f"the list names {entry.ID}, but there is no such document", url)
        if document.id != entry.ID:
            raise self._server.malformed(f"asked for {entry.ID}, it answers with {document.id or 'a document without id'}", url)
        tracked = document.DocumentTracking.InitialReleaseDate or entry.InitialReleaseDate
        return list(updates_of(document, release_day(tracked, b_release(month))))

    def _read(self, url: str, kind: type[Answer]) -> Answer | None:
        body = self._server.get(url, accept=_JSON)
        if body is None:
            return None
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the answer"
            raise self._server.malformed(f"{place}: {first['msg']}", url) from None
