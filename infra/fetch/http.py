"""Files over HTTPS: streamed, bounded in time, tried again where that is safe."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from images.errors import ArtifactError
from images.lock import LockedFile

ATTEMPTS = 4
USER_AGENT = "winvhd"
Result = TypeVar("Result")
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_MAX_WAIT_S = 60.0
_TIMEOUT = httpx.Timeout(60.0, connect=20.0)


class FetchFailed(Exception):
    """One try failed; `again` tells whether another may succeed, `retry_after_s` what the server asked for, `hint` what helps.

    challenge: how the server wants to be asked instead (WWW-Authenticate), empty where it does not say.
    """

    def __init__(self, reason: str, *, again: bool, retry_after_s: float | None = None, hint: str = "", challenge: str = "") -> None:
        self.again = again
        self.retry_after_s = retry_after_s
        self.hint = hint
        self.challenge = challenge
        super().__init__(reason)


def make_client() -> httpx.Client:
    """A client for many fetches; thread-safe. It asks for bodies as they are stored: hashes are those of the stored bytes."""
    limits = httpx.Limits(max_connections=16, max_keepalive_connections=8)
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    # No proxy of the user's environment leads to this machine itself, where the stand-in's origin is.
    return httpx.Client(timeout=_TIMEOUT, limits=limits, follow_redirects=True, headers=headers, mounts={"all://127.0.0.1": None})


def refused(response: httpx.Response) -> FetchFailed:
    """The failure that an answer other than 200 is."""
    return FetchFailed(
        f"HTTP {response.status_code}",
        again=response.status_code in _RETRIED,
        retry_after_s=_retry_after(response),
        challenge=response.headers.get("WWW-Authenticate", ""),
    )


def broken(error: httpx.HTTPError | httpx.InvalidURL) -> FetchFailed:
    """The failure that a broken exchange is; a malformed or unsupported address stays so."""
    again = not isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.TooManyRedirects)
    return FetchFailed(f"{type(error).__name__}: {error}", again=again)


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


class _Wait(wait_exponential):
    """Exponential, but not shorter than the server's Retry-After, as far as that is a minute or less."""

    def __call__(self, retry_state: RetryCallState) -> float:
        wait = super().__call__(retry_state)
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after_s if isinstance(error, FetchFailed) else None
        return min(max(wait, asked or 0.0), _MAX_WAIT_S)


def retrying(first_wait_s: float) -> Retrying:
    """The retry policy of every fetch; first_wait_s doubles from try to try."""
    return Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=_Wait(multiplier=first_wait_s, max=_MAX_WAIT_S),
        retry=retry_if_exception(lambda error: isinstance(error, FetchFailed) and error.again),
        reraise=True,
    )


@contextmanager
def streamed(client: httpx.Client, address: str, *, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
    """An open response of one try; raises FetchFailed."""
    try:
        with client.stream("GET", address, headers=headers) as response:
            if response.status_code != httpx.codes.OK:
                raise refused(response)
            yield response
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise broken(error) from error


def hash_url(client: httpx.Client, url: str, address: str, *, first_wait_s: float = 1.0) -> LockedFile:
    """sha256 and size in bytes of what url gives (fetched from address); raises ArtifactError when it can not be fetched."""

    def once() -> LockedFile:
        digest, size = hashlib.sha256(), 0
        with streamed(client, address) as response:
            for chunk in response.iter_raw():
                digest.update(chunk)
                size += len(chunk)
        return LockedFile(url=url, sha256=digest.hexdigest(), size_bytes=size)

    return fetch(once, url, first_wait_s=first_wait_s)


def fetch(once: Callable[[], Result], url: str, *, first_wait_s: float = 1.0) -> Result:
    """The result of `once`, tried again as the policy says; raises ArtifactError naming url without its query."""
    try:
        return retrying(first_wait_s)(once)
    except FetchFailed as error:
        shown = url.partition("?")[0]
        hint = error.hint or "check the address, and that this machine reaches it; then run the build again"
        raise ArtifactError(f"can not fetch {shown}: {error}", hint=hint) from None


def content_length(client: httpx.Client, url: str, *, shown: str, first_wait_s: float = 1.0) -> int:
    """Size in bytes that the server promises for a secret URL; errors name `shown`, never the URL. Raises ArtifactError."""

    def once() -> int:
        try:
            response = client.head(url)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The library's own text may hold parts of the URL.
            raise FetchFailed(type(error).__name__, again=broken(error).again) from None
        if response.status_code != httpx.codes.OK:
            raise refused(response)
        length = response.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise FetchFailed("no Content-Length", again=False)
        return int(length)

    try:
        return retrying(first_wait_s)(once)
    except FetchFailed as error:
        raise ArtifactError(
            f"the server of {shown} does not tell its size: {error}", hint="check the URL in the Secret block, and its expiry"
        ) from None
