"""The Update Catalog's pages over real HTTP: where a KB's files are, and what is said when the pages have changed."""

from __future__ import annotations

import hashlib
from datetime import date

import httpx
import pytest

from images.errors import FeedError
from infra.feeds.catalog_pages import CatalogPageError, read_download_dialog, read_search
from infra.feeds.update_catalog import UpdateCatalog
from tests.unit.feeds.conftest import Microsoft
from tests.unit.fetch.serving import Answer, Server

SEARCH, DIALOG = "/www.catalog.update.microsoft.com/Search.aspx", "/www.catalog.update.microsoft.com/DownloadDialog.aspx"


@pytest.fixture
def catalog(microsoft: Microsoft, client: httpx.Client) -> UpdateCatalog:
    return UpdateCatalog(client, microsoft.route, first_wait_s=0.001)


@pytest.fixture
def served(server: Server, client: httpx.Client) -> UpdateCatalog:
    return UpdateCatalog(client, server.route, first_wait_s=0.001)


def test_a_kb_leads_to_its_file(catalog: UpdateCatalog, microsoft: Microsoft) -> None:
    (file,) = catalog.files("KB5120242", 20348)
    assert file.kb == "KB5120242"
    assert file.url.startswith("https://catalog.s.download.windowsupdate.com/")
    assert file.url.endswith(file.file_name)
    body = httpx.get(microsoft.route(file.url)).raise_for_status().content
    assert hashlib.sha1(body).hexdigest() == file.sha1
    assert len(body) == file.size_bytes


def test_an_update_of_2025_brings_its_checkpoint_and_comes_last(catalog: UpdateCatalog) -> None:
    assert [file.kb for file in catalog.files("KB9003296", 26100)] == ["KB5043080", "KB9003296"]
    assert [file.kb for file in catalog.files("KB9003725", 26100)] == ["KB9003580", "KB9003725"]


@pytest.mark.parametrize(("kb", "build"), [("KB5120242", 26100), ("KB5120242", 17763), ("KB5999999", 20348), ("KB512024", 20348)])
def test_what_is_not_for_the_build_is_not_found(catalog: UpdateCatalog, kb: str, build: int) -> None:
    assert catalog.files(kb, build) == ()


def test_an_update_is_not_there_before_its_day(catalog: UpdateCatalog, microsoft: Microsoft) -> None:
    url = catalog.files("KB5120242", 20348)[0].url
    microsoft.today.pretend(date(2026, 8, 10))
    assert catalog.files("KB5120242", 20348) == ()
    assert httpx.get(microsoft.route(url)).status_code == 404
    microsoft.today.pretend(date(2026, 8, 11))
    assert catalog.files("KB5120242", 20348)[0].url == url
    assert httpx.get(microsoft.route(url)).status_code == 200


def test_a_catalog_that_is_down_is_an_error(catalog: UpdateCatalog, microsoft: Microsoft) -> None:
    microsoft.strike("InternalServerError", 500)
    with pytest.raises(FeedError, match="the Microsoft Update Catalog does not answer: HTTP 500"):
        catalog.files("KB5120242", 20348)


def test_pages_that_have_changed_are_told(served: UpdateCatalog, server: Server) -> None:
    server.on(SEARCH, Answer(b"<html><div id='app'></div></html>"))
    with pytest.raises(FeedError, match="neither the table") as caught:
        served.files("KB5120242", 20348)
    assert "feed file" in caught.value.hint


def test_a_search_page_that_is_gone_is_told(served: UpdateCatalog) -> None:
    with pytest.raises(FeedError, match="neither the table"):
        served.files("KB5120242", 20348)


GUID = "07e328fd-a039-45f2-90ad-2b43002eab3b"


def row(title: str, products: str, guid: str = GUID, number: int = 0) -> str:
    cells = [
        "",
        f"<a id='{guid}_link'>{title}</a>",
        products,
        "Security Updates",
        "8/11/2026",
        "n/a",
        "<span>1.2 MB</span><span>1234567</span>",
    ]
    tds = "".join(f'<td id="{guid}_C{column}_R{number}">{cell}</td>' for column, cell in enumerate(cells))
    return f"<tr>{tds}</tr>"


def page(*rows: str) -> str:
    return f'<table id="ctl00_catalogBody_updateMatches">{"".join(rows)}</table>'


def dialog(*urls: str, digest: str = "") -> str:
    lines = [f"downloadInformation[0].files[{number}].url = '{url}';" for number, url in enumerate(urls)]
    return "\n".join([*lines, *(f"downloadInformation[0].files[{number}].digest = '{digest}';" for number in range(len(urls)))])


OWN = "http://download.windowsupdate.com/d/msdownload/windows10.0-kb5120242-x64_0.msu"
TITLE = "2026-08 Cumulative Update for Microsoft server operating system version 21H2 for x64-based Systems (KB5120242)"
PRODUCTS = "Microsoft Server operating system-21H2"


def test_the_row_of_the_right_product_and_processor_is_taken(served: UpdateCatalog, server: Server) -> None:
    others = [
        row("2026-08 Cumulative Update for Windows Server 2019 for x64-based Systems (KB5120242)", "Windows Server 2019"),
        row(TITLE.replace("x64", "ARM64"), PRODUCTS),
        row(TITLE.replace("Cumulative", "Dynamic Cumulative"), PRODUCTS),
        row(TITLE.replace("KB5120242", "KB5120243"), PRODUCTS),
    ]
    rows = [each.replace(GUID, f"{number}{GUID[1:]}") for number, each in enumerate(others, 1)]
    server.on(SEARCH, Answer(page(*rows).encode()))
    server.on(DIALOG, Answer(dialog(OWN).encode()))
    assert served.files("KB5120242", 20348) == ()
    server.on(SEARCH, Answer(page(*rows, row(TITLE, f"Windows Server 2016, {PRODUCTS}")).encode()))
    (file,) = served.files("KB5120242", 20348)
    assert (file.url, file.size_bytes, file.sha1) == (OWN, 1234567, "")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "lists no .msu or .cab"),
        (dialog("https://download.windowsupdate.com/readme.txt"), "lists no .msu or .cab"),
        (dialog("https://windowsupdate.com.example.org/kb5120242.msu"), "leads to windowsupdate.com.example.org, which is not Microsoft's"),
        (dialog("ftp://download.windowsupdate.com/kb5120242.msu"), "not Microsoft's"),
        (dialog("https://download.windowsupdate.com/update.msu"), "names no KB"),
        (dialog(OWN, digest="***"), "is not base64"),
    ],
)
def test_a_dialog_that_can_not_be_trusted_is_refused(served: UpdateCatalog, server: Server, text: str, what: str) -> None:
    with pytest.raises(CatalogPageError, match=what):
        read_download_dialog(text)
    server.on(SEARCH, Answer(page(row(TITLE, PRODUCTS)).encode()))
    server.on(DIALOG, Answer(text.encode()))
    with pytest.raises(FeedError, match=what):
        served.files("KB5120242", 20348)


def test_rows_without_their_marks_are_refused() -> None:
    with pytest.raises(CatalogPageError, match="no cells of the form"):
        read_search(page("<tr><td>a</td></tr>"))
    with pytest.raises(CatalogPageError, match="no title or no products"):
        read_search(page(f"<tr><td id='{GUID}_C3_R0'>Security Updates</td></tr>"))


def test_titles_are_read_as_people_see_them() -> None:
    (found,) = read_search(page(row("2026-08 &amp;\n   more", "  A,\n B ")))
    assert (found.title, found.products, found.guid, found.size_bytes) == ("2026-08 & more", "A, B", GUID, 1234567)
