"""Microsoft's own services in the stand-in's Internet whose answers depend on the day: MSRC, Update Catalog, update files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import parse_qs

from infra.local.origin import msrc, update_catalog
from infra.local.origin.feed_document import feed_document
from infra.local.origin.store import OriginStore
from infra.local.origin.windows_releases import update_facts
from infra.local.pretended_date import PretendedDate


@dataclass(frozen=True)
class Page:
    """One answer."""

    content: bytes
    media_type: str
    status: int = 200


_NOT_FOUND = Page(b"not found\n", "text/plain", 404)


class Microsoft:
    """Answers as of the pretended day; safe to use from several threads."""

    def __init__(self, store: OriginStore, today: PretendedDate) -> None:
        self._store = store
        self._today = today

    def page(self, method: str, host: str, path: str, query: str, form: str) -> Page | None:
        """The answer of one of its hosts; None for another host's."""
        if host == msrc.HOST:
            document = msrc.answer(path, self._today.day) if method in ("GET", "HEAD") else None
            return Page(json.dumps(document).encode(), "application/json; charset=utf-8") if document else _NOT_FOUND
        if host == update_catalog.HOST:
            return self._catalog(method, path, query, form)
        return None

    def is_there(self, url: str) -> bool:
        """False for the file of an update that is not released yet."""
        facts = update_facts(url)
        return facts is None or facts.released is None or self._today.has_come(facts.released)

    def feed_file(self) -> str:
        """A feed file with everything that is released."""
        return feed_document(self._today.day, self._store.body)

    def _catalog(self, method: str, path: str, query: str, form: str) -> Page:
        if path == "Search.aspx" and method in ("GET", "HEAD"):
            wanted = parse_qs(query).get("q", [""])[0]
            shown = update_catalog.search_page(wanted, self._today.day, lambda url: len(self._store.body(url)))
        elif path == "DownloadDialog.aspx" and method == "POST":
            shown = update_catalog.download_dialog(form, self._today.day, self._store.body)
        else:
            return Page(f"{method} /{path} is not implemented\n".encode(), "text/plain", 501)
        return Page(shown.encode(), "text/html; charset=utf-8")
