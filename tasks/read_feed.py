"""Which Windows updates there are: from the MSRC, or from a feed file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from images.errors import ConfigurationError
from images.updates.feed import FeedUpdate
from images.updates.patch_week import Month, month_numbers
from infra.azure.session import Cloud
from infra.feeds.feed_file import read_feed_file
from infra.feeds.msrc import MsrcFeed
from infra.fetch.http import make_client

MSRC = "msrc"
"""The source that is the Microsoft Security Response Center's own feed."""
_DEFAULT_MONTHS = 13


def read_feed(cloud: Cloud, source: str, months: Sequence[Month]) -> tuple[FeedUpdate, ...]:
    """The updates of these months, by Windows build and day: of `msrc`, or of the feed file whose path `source` is.

    Without months: all that a file holds, or the last 13 months of the MSRC. A month that the source does not have gives no
    updates; that is no error. Raises FeedError (the MSRC is down or malformed), DefinitionError (the file, all faults with their lines)
    and ConfigurationError (a text that is no month).
    """
    for month in months:
        try:
            month_numbers(month)
        except ValueError as error:
            raise ConfigurationError(str(error), hint="a year and a month, for example 2026-08") from None
    if source != MSRC:
        updates = read_feed_file(Path(source))
        return tuple(update for update in updates if not months or update.month in months)
    profile = cloud.profile
    with make_client() as client:
        feed = MsrcFeed(client, profile.route, first_wait_s=profile.poll_interval_s)
        return feed.updates(months or feed.months()[-_DEFAULT_MONTHS:])
