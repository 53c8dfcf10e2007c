"""One question to a feed's server: bounded in time and size, tried again where that is safe, a FeedError when it stays without answer."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from images.errors import FeedError
from infra.fetch.http import FetchFailed, broken, refused, retrying

MAX_BYTES = 64 * 1024 * 1024
"""A month of the MSRC has some 15 MB; more than this is not an answer of a feed."""


class FeedServer:
    """Asks one server through an HTTP client; `route` gives the address to ask for a public URL."""

    def __init__(self, client: httpx.Client, route: Callable[[str], str], *, name: str, first_wait_s: float = 1.0) -> None:
        self._client = client
        self._route = route
        self._name = name
        self._first_wait_s = first_wait_s

    def get(self, url: str, *, accept: str) -> bytes | None:
        """The body behind a URL, None when the server has none (404); FeedError when it does not answer."""
        return self._ask(url, lambda: self._client.build_request("GET", self._route(url), headers={"Accept": accept}))

    def post(self, url: str, form: dict[str, str]) -> bytes | None:
        """The answer to a form that changes nothing, None for 404; FeedError when the server does not answer."""
        return self._ask(url, lambda: self._client.build_request("POST", self._route(url), data=form))

    def _ask(self, url: str, request: Callable[[], httpx.Request]) -> bytes | None:
        try:
            return retrying(self._first_wait_s)(lambda: self._once(request()))
        except FetchFailed as error:
            hint = "check that this machine reaches it; run it again later, or give a feed file: docs/update-feed.md"
            raise FeedError(f"{self._name} does not answer: {error}", where=url, hint=hint) from None

    def _once(self, request: httpx.Request) -> bytes | None:
        try:
            response = self._client.send(request, stream=True)
            try:
                if response.status_code == httpx.codes.NOT_FOUND:
                    return None
                if response.status_code != httpx.codes.OK:
                    raise refused(response)
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise FetchFailed(f"the answer is larger than {MAX_BYTES // 2**20} MiB", again=False)
                return bytes(body)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise broken(error) from error

    def malformed(self, what: str, url: str) -> FeedError:
        """The error of an answer that is not as the server promises."""
        hint = "if it stays so, the server has changed: give a feed file (docs/update-feed.md) until this adapter has followed"
        return FeedError(f"{self._name} gives something else than it should: {what}", where=url, hint=hint)
