"""What upstream gives in one refresh of one or several locks: each file and each month of an update feed read once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx

from images.errors import ArtifactError
from images.lock import LockedFile
from images.lock_diff import UNRESOLVED
from images.updates.feed import FeedUpdate
from images.updates.patch_week import Month
from infra.azure.session import Cloud
from infra.fetch.http import hash_url
from tasks.read_feed import MSRC, read_feed

Answer = TypeVar("Answer")


class Upstream:
    """Remembers what it has read, errors too; safe to use from several threads.

    Images share most of their files, which together are many gigabytes, and a month of Microsoft's feed has 15 MB.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._answers: dict[tuple[str, ...], Future[Any]] = {}
        self._guard = threading.Lock()

    def feed(self, source: str, months: Sequence[Month]) -> tuple[FeedUpdate, ...]:
        """The updates of these months; raises what `read_feed` raises."""
        if source != MSRC:
            # A file is read as a whole whatever is asked for.
            everything = self._once(("feed", source), lambda: read_feed(self._cloud, source, []))
            return tuple(update for update in everything if update.month in months)

        def read(month: Month) -> tuple[FeedUpdate, ...]:
            return self._once(("feed", source, month), lambda: read_feed(self._cloud, source, [month]))

        return tuple(update for month in months for update in read(month))

    def hash(self, client: httpx.Client, url: str, was: LockedFile | None = None) -> LockedFile:
        """sha256 and size of the file behind a URL, fetched with this client; `was` is what it was before.

        Other bytes than before count only when they come twice: a broken transfer is no change. Raises ArtifactError when the file can
        not be fetched, or is another one each time.
        """
        file = self._reading(client, url, "first")
        if was is None or was.sha256 in (file.sha256, UNRESOLVED):
            return file
        again = self._reading(client, url, "second")
        if again.sha256 not in (was.sha256, file.sha256):
            raise ArtifactError(
                f"{url.partition('?')[0]} gives other bytes each time",
                hint="a broken transfer, or a page instead of a file: look at what it gives, then lock again",
            )
        return again

    def _reading(self, client: httpx.Client, url: str, which: str) -> LockedFile:
        def read() -> LockedFile:
            profile = self._cloud.profile
            return hash_url(client, url, profile.route(url), first_wait_s=profile.poll_interval_s)

        return self._once(("file", url, which), read)

    def _once(self, key: tuple[str, ...], read: Callable[[], Answer]) -> Answer:
        with self._guard:
            mine = key not in self._answers
            answer: Future[Answer] = self._answers.setdefault(key, Future())
        if mine:
            try:
                answer.set_result(read())
            except BaseException as error:
                answer.set_exception(error)
        return answer.result()
