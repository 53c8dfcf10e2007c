"""The two pages of the Microsoft Update Catalog that a reader of it uses, with the marks that such readers look for.

Their form is that of the catalog in 2026, as its public readers describe it: a table whose cells are named after the update's GUID, and a
dialog whose script lists files with base64 SHA-1.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import uuid
from collections.abc import Callable
from datetime import date
from urllib.parse import parse_qs

from infra.local.origin.update_calendar import CUMULATIVE_UPDATES, SIDE_UPDATES, CumulativeUpdate, SideUpdate, checkpoint_before
from infra.local.origin.windows_releases import catalog_title, download_url

HOST = "www.catalog.update.microsoft.com"
_PRODUCTS = {
    17763: "Windows Server 2019",
    20348: "Microsoft Server operating system-21H2",
    26100: "Microsoft Server Operating System-24H2",
}
_NO_RESULT = '<span id="ctl00_catalogBody_noResultText">We did not find any results for "{query}"</span>'
_PAGE = "<!DOCTYPE html><html><head><title>Microsoft Update Catalog</title></head><body>{body}</body></html>"


def search_page(query: str, day: date | None, size_of: Callable[[str], int]) -> str:
    """Search.aspx: the updates whose KB is the query, released by a day; `size_of` gives the size in bytes of a URL's body."""
    rows = [
        _row(number, update, size_of(download_url(update)))
        for number, update in enumerate(_released(day))
        if query.strip().upper() in (update.kb, update.kb.removeprefix("KB"))
    ]
    if not rows:
        return _PAGE.format(body=_NO_RESULT.format(query=html.escape(query)))
    head = (
        "<tr id='headerRow'><th>Title</th><th>Products</th><th>Classification</th><th>Last Updated</th><th>Version</th><th>Size</th></tr>"
    )
    return _PAGE.format(body=f'<table id="ctl00_catalogBody_updateMatches">{head}{"".join(rows)}</table>')


def download_dialog(form: str, day: date | None, body_of: Callable[[str], bytes]) -> str:
    """The answer to a POST of DownloadDialog.aspx: the files of the updates whose GUIDs the form names."""
    wanted = {entry["updateID"] for text in parse_qs(form).get("updateIDs", []) for entry in json.loads(text)}
    lines = ["var downloadInformation = new Array();"]
    for number, update in enumerate(each for each in _released(day) if _guid(each) in wanted):
        lines += [
            f"downloadInformation[{number}] = new Object();",
            f"downloadInformation[{number}].updateID ='{_guid(update)}';",
            f"downloadInformation[{number}].enTitle ='{_title(update)}';",
            f"downloadInformation[{number}].files = new Array();",
        ]
        for index, file in enumerate(_files(update)):
            url = download_url(file)
            digest = base64.b64encode(hashlib.sha1(body_of(url), usedforsecurity=False).digest()).decode()
            place = f"downloadInformation[{number}].files[{index}]"
            lines += [
                f"{place} = new Object();",
                f"{place}.url = '{url}';",
                f"{place}.digest = '{digest}';",
                f"{place}.sha256 = '';",
                f"{place}.architectures = 'AMD64';",
                f"{place}.languages = '';",
                f"{place}.longLanguages = 'all';",
                f"{place}.fileName = '{url.rsplit('/', 1)[-1]}';",
            ]
    return _PAGE.format(body='<script type="text/javascript">' + "\n".join(lines) + "</script>")


def _released(day: date | None) -> list[CumulativeUpdate | SideUpdate]:
    known: tuple[CumulativeUpdate | SideUpdate, ...] = (*CUMULATIVE_UPDATES, *SIDE_UPDATES)
    return [each for each in known if day is None or each.released <= day]


def _files(update: CumulativeUpdate | SideUpdate) -> list[CumulativeUpdate | SideUpdate]:
    """The update's own file first, then the checkpoint that it is a difference to."""
    checkpoint = checkpoint_before(update.build, update.ubr) if isinstance(update, CumulativeUpdate) else None
    return [update, checkpoint] if checkpoint else [update]


def _guid(update: CumulativeUpdate | SideUpdate) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, download_url(update)))


def _title(update: CumulativeUpdate | SideUpdate) -> str:
    build = f" ({update.fixed_build})" if isinstance(update, CumulativeUpdate) and update.build == 26100 else ""
    return f"{catalog_title(update)} ({update.kb}){build}"


def _row(number: int, update: CumulativeUpdate | SideUpdate, size_bytes: int) -> str:
    guid = _guid(update)
    sort = "Updates" if update.kind == "preview" else "Security Updates"
    day = f"{update.released.month}/{update.released.day}/{update.released.year}"
    cells = (
        "",
        f"<a id='{guid}_link' href='javascript:void(0);' onclick='goToDetails(\"{guid}\");'>\n{html.escape(_title(update))}\n</a>",
        _PRODUCTS[update.build],
        sort,
        day,
        "n/a",
        f'<span id="{guid}_size">{size_bytes / 2**20:.1f} MB</span><span class="noDisplay" id="{guid}_originalSize">{size_bytes}</span>',
        f'<input id="{guid}" class="flatBlueButtonDownload" type="button" value="Download" />',
    )
    tds = "".join(f'<td class="resultsbottomBorder" id="{guid}_C{column}_R{number}">{cell}</td>' for column, cell in enumerate(cells))
    return f'<tr id="{guid}_R{number}">{tds}</tr>'
