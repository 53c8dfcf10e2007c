"""The Microsoft Update Catalog, https://www.catalog.update.microsoft.com: where the files of a KB are. It has pages for people, no API.

It is asked for nothing else, so that a page that changes costs no more than a URL in a feed file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import urlencode

import httpx

from images.updates.products import release_name
from infra.feeds.catalog_pages import CatalogFile, CatalogPageError, FoundUpdate, read_download_dialog, read_search
from infra.feeds.exchange import FeedServer

CATALOG = "https://www.catalog.update.microsoft.com"
_PRODUCTS: Mapping[int, str] = MappingProxyType(
    {
        17763: "windows server 2019",
        20348: "microsoft server operating system-21h2",
        26100: "microsoft server operating system-24h2",
    }
)
"""What the catalog's column Products says for a Windows build, in lower case."""


class UpdateCatalog:
    """Reads the catalog through one HTTP client; `route` gives the address to ask for a public URL."""

    def __init__(self, client: httpx.Client, route: Callable[[str], str], *, first_wait_s: float = 1.0) -> None:
        self._server = FeedServer(client, route, name="the Microsoft Update Catalog", first_wait_s=first_wait_s)

    def files(self, kb: str, windows_build: int) -> tuple[CatalogFile, ...]:
        """The x64 files of a KB for a Windows build: checkpoints that it builds on first, its own last; none when it is not there.

        A .NET update has a KB of its own for each version of .NET, and none of its files is called after the KB of them all.
        Raises FeedError when the catalog does not answer, or its pages have changed.
        """
        found = self._find(kb, windows_build)
        if found is None:
            return ()
        url = f"{CATALOG}/DownloadDialog.aspx"
        entry = {"size": 0, "languages": "", "uidInfo": found.guid, "updateID": found.guid}
        page = self._server.post(url, {"updateIDs": json.dumps([entry])})
        try:
            files = read_download_dialog((page or b"").decode("utf-8", "replace"))
        except CatalogPageError as error:
            raise self._server.malformed(str(error), url) from None
        if len(files) == 1:
            return (replace(files[0], size_bytes=found.size_bytes),)
        # The dialog begins with the newest file; a checkpoint has a lower number than what builds on it.
        others = sorted((file for file in files if file.kb != kb), key=lambda file: int(file.kb.removeprefix("KB")))
        return (*others, *(file for file in files if file.kb == kb))

    def _find(self, kb: str, windows_build: int) -> FoundUpdate | None:
        url = f"{CATALOG}/Search.aspx?{urlencode({'q': kb})}"
        page = self._server.get(url, accept="text/html")
        try:
            rows = read_search((page or b"").decode("utf-8", "replace"))
        except CatalogPageError as error:
            raise self._server.malformed(str(error), url) from None
        product = _PRODUCTS.get(windows_build, release_name(windows_build).lower())
        ours = [row for row in rows if _fits(row, kb, product)]
        return ours[0] if ours else None


def _fits(row: FoundUpdate, kb: str, product: str) -> bool:
    """True for the row of this KB and product on x64; dynamic updates are parts of setup media, not of a running Windows."""
    title = row.title.lower()
    products = [each.strip() for each in row.products.lower().split(",")]
    return f"({kb.lower()})" in title and product in products and "x64" in title and "dynamic" not in title
