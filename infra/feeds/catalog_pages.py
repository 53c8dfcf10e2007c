"""The two pages of the Microsoft Update Catalog, read: what a search found, and which files an update has.

Nobody documents them; these are the marks that public readers of the catalog go by: the table ctl00_catalogBody_updateMatches with cells
called <GUID>_C<column>_R<row> (https://github.com/MartinGC94/CatalogUpdateDownloader), and the dialog's script with
downloadInformation[…].files[…].url and .digest, a SHA-1 in base64.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlsplit

TITLE, PRODUCTS, SIZE = 1, 2, 6
"""Columns of the table."""

_CELL = re.compile(r"(?P<guid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_C(?P<column>\d+)_R\d+", re.IGNORECASE)
_TABLE = "ctl00_catalogBody_updateMatches"
_NOTHING_FOUND = "ctl00_catalogBody_noResultText"
_FILE = re.compile(r"files\[(?P<index>\d+)\]\.(?P<name>url|digest)\s*=\s*'(?P<value>[^']*)'")
_KB = re.compile(r"kb(\d{6,8})", re.IGNORECASE)
_HOSTS = (".windowsupdate.com", ".delivery.mp.microsoft.com")
_SUFFIXES = (".msu", ".cab")


class CatalogPageError(Exception):
    """The page is not as it was: something that it always had is missing."""


@dataclass(frozen=True)
class FoundUpdate:
    """One row of a search."""

    guid: str
    title: str
    products: str
    size_bytes: int | None


@dataclass(frozen=True)
class CatalogFile:
    """One file of an update; `kb` is the one in its name, `sha1` as hexadecimal text, empty when the catalog gives none."""

    kb: str
    file_name: str
    url: str
    sha1: str
    size_bytes: int | None = None


@dataclass
class _SearchParser(HTMLParser):
    """Collects the texts of the table's cells by GUID and column."""

    cells: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    seen_table: bool = False
    seen_nothing: bool = False
    _cell: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        identifier = next((value or "" for name, value in attrs if name == "id"), "")
        self.seen_table = self.seen_table or identifier == _TABLE
        self.seen_nothing = self.seen_nothing or identifier == _NOTHING_FOUND
        found = _CELL.fullmatch(identifier) if tag == "td" else None
        if found is not None:
            self._cell = (found["guid"].lower(), int(found["column"]))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "tr"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            guid, column = self._cell
            self.cells.setdefault(guid, {}).setdefault(column, []).append(data)


def read_search(page: str) -> tuple[FoundUpdate, ...]:
    """The rows of a search page, none when nothing was found; CatalogPageError when it is neither."""
    parser = _SearchParser()
    parser.feed(page)
    parser.close()
    if not parser.seen_table:
        if parser.seen_nothing:
            return ()
        raise CatalogPageError(f"it has neither the table {_TABLE} nor the text that nothing was found")
    rows = tuple(_row(guid, cells) for guid, cells in parser.cells.items())
    if not rows:
        raise CatalogPageError(f"the table {_TABLE} has no cells of the form <GUID>_C1_R0")
    return rows


def _row(guid: str, cells: dict[int, list[str]]) -> FoundUpdate:
    if TITLE not in cells or PRODUCTS not in cells:
        raise CatalogPageError(f"the row of {guid} has no title or no products")
    # The size stands there twice: for people, and in a hidden element as a number of bytes.
    sizes = [int(text) for text in cells.get(SIZE, []) if text.strip().isdecimal()]
    return FoundUpdate(guid, _text(cells[TITLE]), _text(cells[PRODUCTS]), max(sizes, default=None))


def _text(pieces: list[str]) -> str:
    return " ".join("".join(pieces).split())


def read_download_dialog(page: str) -> tuple[CatalogFile, ...]:
    """The .msu and .cab files in the dialog, in its order; CatalogPageError when it lists none, or one that is not Microsoft's."""
    entries: dict[int, dict[str, str]] = {}
    for found in _FILE.finditer(page):
        entries.setdefault(int(found["index"]), {})[found["name"]] = found["value"]
    files = [_file(entry) for _, entry in sorted(entries.items()) if entry.get("url", "").lower().endswith(_SUFFIXES)]
    if not files:
        raise CatalogPageError("the download dialog lists no .msu or .cab")
    return tuple(files)


def _file(entry: dict[str, str]) -> CatalogFile:
    url = entry["url"]
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not (parts.hostname or "").endswith(_HOSTS):
        raise CatalogPageError(f"the download dialog leads to {parts.hostname or url}, which is not Microsoft's")
    name = parts.path.rsplit("/", 1)[-1]
    kb = _KB.search(name)
    if kb is None:
        raise CatalogPageError(f"the file {name} names no KB")
    try:
        sha1 = base64.b64decode(entry.get("digest", ""), validate=True).hex()
    except binascii.Error:
        raise CatalogPageError(f"the digest of {name} is not base64") from None
    return CatalogFile(f"KB{kb[1]}", name, url, sha1)
