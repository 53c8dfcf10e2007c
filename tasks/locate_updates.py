"""Where the files of selected updates are: in the feed, or in the Microsoft Update Catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from images.errors import FeedError
from images.updates.checkpoints import KNOWN_CHECKPOINTS
from images.updates.feed import FeedUpdate, UpdateKind, build_numbers
from images.updates.merging import merge_updates
from images.updates.products import INBOX_DOTNET
from images.updates.selection import Selection
from infra.azure.session import Cloud
from infra.feeds.catalog_pages import CatalogFile
from infra.feeds.update_catalog import UpdateCatalog
from infra.fetch.http import make_client

_NDP = re.compile(r"-ndp(\d+)", re.IGNORECASE)


def locate_updates(cloud: Cloud, selection: Selection, feed: Iterable[FeedUpdate]) -> tuple[FeedUpdate, ...]:
    """The selection's updates in install order, each with the URL of its file, and with the checkpoints that the base lacks before them.

    What the feed gives no URL for is looked up in the Update Catalog, which also tells what a feed may not: that an update builds on
    checkpoints. `feed` is what was selected from; it says which build such a checkpoint brings. The bytes are the caller's to hash: the
    catalog has SHA-1 only. Raises FeedError when the catalog does not answer, has changed, or has no such update.
    """
    known = {update.kb: update for update in merge_updates(feed) if update.windows_build == selection.windows_build}
    if all(update.url is not None for update in selection.updates):
        return selection.updates
    located: dict[str, FeedUpdate] = {}
    with make_client() as client:
        catalog = UpdateCatalog(client, cloud.profile.route, first_wait_s=cloud.profile.poll_interval_s)
        for update in selection.updates:
            found = (update,) if update.url is not None else _from_catalog(catalog, update, known, selection.base_build)
            for each in found:
                located.setdefault(each.kb, each)
    return tuple(located.values())


def _from_catalog(catalog: UpdateCatalog, update: FeedUpdate, known: dict[str, FeedUpdate], base_build: str) -> Iterator[FeedUpdate]:
    files = catalog.files(update.kb, update.windows_build)
    if update.kind is UpdateKind.DOTNET:
        files = tuple(file for file in files if file.kb == update.kb) or _for_inbox_dotnet(files, update.windows_build)
    if not files or (update.kind is not UpdateKind.DOTNET and files[-1].kb != update.kb):
        raise FeedError(
            f"the Microsoft Update Catalog has no file of {update.kb} for Windows build {update.windows_build}",
            hint="it may come some hours after the MSRC's list: run it again later, or give its URL in a feed file (docs/update-feed.md)",
        )
    for file in files[:-1]:
        build = _checkpoint_build(file, known, base_build)
        # Adding a checkpoint to a Windows that is past it damages its component store.
        if build is not None and build_numbers(build) > build_numbers(base_build):
            about = known.get(file.kb, update.model_copy(update={"kb": file.kb, "supersedes": (), "cves": (), "size_bytes": None}))
            yield about.model_copy(update={"kind": UpdateKind.CHECKPOINT, "fixed_build": build, "url": file.url})
    yield update.model_copy(update={"kb": files[-1].kb, "url": files[-1].url, "size_bytes": files[-1].size_bytes})


def _for_inbox_dotnet(files: Sequence[CatalogFile], windows_build: int) -> tuple[CatalogFile, ...]:
    """The file for the .NET Framework that comes with the build: …-ndp48… for 4.8, without such a mark for the oldest one."""
    inbox = INBOX_DOTNET.get(windows_build, "").replace(".", "")
    marked = {file: found[1] if (found := _NDP.search(file.file_name)) else "" for file in files}
    wanted = inbox if inbox in marked.values() else ""
    return tuple(file for file, mark in marked.items() if mark == wanted)[:1]


def _checkpoint_build(file: CatalogFile, known: dict[str, FeedUpdate], base_build: str) -> str | None:
    """build.UBR of a checkpoint, None when it is older than all that the feed tells, and so than the base; FeedError when it may not be."""
    if file.kb in known or file.kb in KNOWN_CHECKPOINTS:
        return known[file.kb].fixed_build if file.kb in known else KNOWN_CHECKPOINTS[file.kb]
    if any(update.fixed_build and build_numbers(update.fixed_build) <= build_numbers(base_build) for update in known.values()):
        return None
    raise FeedError(
        f"the feed does not say which build the checkpoint {file.kb} brings",
        hint=f"read the feed for more months: back to the one of the base image, {base_build}",
    )
