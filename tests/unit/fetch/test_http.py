"""Fetches are tried again where that helps, wait as long as they are told, and never tell a URL's secret part."""

from __future__ import annotations

import gzip
import hashlib
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from images.errors import ArtifactError
from infra.fetch.http import ATTEMPTS, content_length, fetch, hash_url, make_client, streamed
from infra.prefect.server import free_port
from tests.unit.fetch.serving import Answer, Server

BODY = b"content " * 1000
PUBLIC = "https://files.example/a/file.zip"
SECRET = "sig=hush-hush"


def _hash(client: httpx.Client, address: str, url: str = PUBLIC) -> tuple[str, int]:
    file = hash_url(client, url, address, first_wait_s=0.01)
    assert file.url == url
    return file.sha256, file.size_bytes


GOOD = (hashlib.sha256(BODY).hexdigest(), len(BODY))


def test_hash_and_size_are_those_of_the_body(server: Server, client: httpx.Client) -> None:
    assert _hash(client, server.on("/f", Answer(BODY))) == GOOD
    assert [asked.headers["User-Agent"] for asked in server.asked] == ["winvhd"]


def test_redirects_are_followed(server: Server, client: httpx.Client) -> None:
    server.on("/f", Answer(BODY))
    assert _hash(client, server.on("/old", Answer(status=302, headers={"Location": "/f"}))) == GOOD


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_failure_that_may_pass_is_tried_again(server: Server, client: httpx.Client, status: int) -> None:
    assert _hash(client, server.on("/f", Answer(status=status), Answer(BODY))) == GOOD
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_failure_that_stays_is_not_tried_again(server: Server, client: httpx.Client, status: int) -> None:
    with pytest.raises(ArtifactError, match=f"HTTP {status}"):
        _hash(client, server.on("/f", Answer(status=status), Answer(BODY)))
    assert len(server.asked) == 1


def test_tries_come_to_an_end(server: Server, client: httpx.Client) -> None:
    with pytest.raises(ArtifactError, match="HTTP 503") as caught:
        _hash(client, server.on("/f", Answer(status=503)))
    assert len(server.asked) == ATTEMPTS
    assert "check the address" in caught.value.hint


def _waited(server: Server) -> float:
    return server.asked[1].at - server.asked[0].at


def test_retry_after_in_seconds_is_waited_for(server: Server, client: httpx.Client) -> None:
    _hash(client, server.on("/f", Answer(status=429, headers={"Retry-After": "1"}), Answer(BODY)))
    assert 0.95 < _waited(server) < 3


def test_retry_after_as_a_date_is_waited_for(server: Server, client: httpx.Client) -> None:
    # Dates have whole seconds: two from now are more than one away.
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    _hash(client, server.on("/f", Answer(status=503, headers={"Retry-After": later}), Answer(BODY)))
    assert 0.8 < _waited(server) < 4


@pytest.mark.parametrize("value", ["soon", "", "-5", "\u00b2", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 -0000"])
def test_a_retry_after_that_makes_no_sense_or_is_over_does_not_hold_anybody_up(server: Server, client: httpx.Client, value: str) -> None:
    assert _hash(client, server.on("/f", Answer(status=503, headers={"Retry-After": value}), Answer(BODY))) == GOOD
    assert _waited(server) < 0.5


def test_a_body_that_breaks_off_is_fetched_again_from_its_start(server: Server, client: httpx.Client) -> None:
    assert _hash(client, server.on("/f", Answer(BODY, cut_at=100), Answer(BODY))) == GOOD


def test_a_body_that_always_breaks_off_is_no_file(server: Server, client: httpx.Client) -> None:
    with pytest.raises(ArtifactError, match="RemoteProtocolError"):
        _hash(client, server.on("/f", Answer(BODY, cut_at=100)))
    assert len(server.asked) == ATTEMPTS


def test_the_stored_bytes_are_hashed_also_where_the_server_calls_them_encoded(server: Server, client: httpx.Client) -> None:
    stored = gzip.compress(BODY, mtime=0)
    address = server.on("/f.tar.gz", Answer(stored, headers={"Content-Encoding": "gzip"}))
    assert _hash(client, address) == (hashlib.sha256(stored).hexdigest(), len(stored))
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


def test_a_refused_connection_is_an_artifact_error(client: httpx.Client) -> None:
    with pytest.raises(ArtifactError, match=r"can not fetch https://files\.example/a/file\.zip: ConnectError"):
        _hash(client, f"http://127.0.0.1:{free_port()}/f")


@pytest.mark.parametrize("address", ["https://files.example:port/f", "ftp://files.example/f"])
@pytest.mark.timeout(20)
def test_an_impossible_address_is_refused_at_once(client: httpx.Client, address: str) -> None:
    with pytest.raises(ArtifactError, match="can not fetch"):
        hash_url(client, PUBLIC, address, first_wait_s=60)


@pytest.mark.timeout(20)
def test_an_endless_redirect_is_refused_at_once(server: Server, client: httpx.Client) -> None:
    address = server.on("/f", Answer(status=302, headers={"Location": "/f"}))
    with pytest.raises(ArtifactError, match="TooManyRedirects"):
        hash_url(client, PUBLIC, address, first_wait_s=60)


@pytest.mark.parametrize("answer", [Answer(status=403), Answer(BODY, cut_at=1)])
def test_errors_do_not_tell_the_query_of_a_url(server: Server, client: httpx.Client, answer: Answer) -> None:
    address = server.on("/f", answer)
    with pytest.raises(ArtifactError) as caught:
        _hash(client, f"{address}?{SECRET}", f"{PUBLIC}?{SECRET}")
    assert PUBLIC in str(caught.value)
    assert SECRET not in f"{caught.value!s} {caught.value!r} {vars(caught.value)}"


def test_errors_of_who_reads_a_stream_are_their_own(server: Server, client: httpx.Client) -> None:
    address = server.on("/f", Answer(BODY))

    def once() -> None:
        with streamed(client, address):
            raise KeyError("mine")

    with pytest.raises(KeyError):
        fetch(once, PUBLIC, first_wait_s=0.01)
    assert len(server.asked) == 1


def test_no_proxy_stands_between_this_machine_and_itself(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with make_client() as client:
        assert _hash(client, server.on("/f", Answer(BODY))) == GOOD


class TestContentLength:
    """The size behind a secret URL."""

    def test_size_is_asked_for_without_fetching(self, server: Server, client: httpx.Client) -> None:
        assert content_length(client, server.on("/f", Answer(BODY)), shown="fix.zip") == len(BODY)
        assert [asked.method for asked in server.asked] == ["HEAD"]

    def test_an_expired_url_has_no_size_although_its_error_page_has(self, server: Server, client: httpx.Client) -> None:
        url = server.on("/f", Answer(b"<Error>AuthenticationFailed</Error>", status=403))
        with pytest.raises(ArtifactError, match="HTTP 403") as caught:
            content_length(client, f"{url}?{SECRET}", shown="fix.zip")
        assert "expiry" in caught.value.hint
        assert "fix.zip" in str(caught.value)
        assert SECRET not in str(caught.value)
        assert "127.0.0.1" not in str(caught.value)

    def test_a_busy_server_is_asked_again(self, server: Server, client: httpx.Client) -> None:
        url = server.on("/f", Answer(status=503), Answer(BODY))
        assert content_length(client, url, shown="fix.zip", first_wait_s=0.01) == len(BODY)

    def test_a_server_that_does_not_tell_is_refused(self, server: Server, client: httpx.Client) -> None:
        with pytest.raises(ArtifactError, match="no Content-Length"):
            content_length(client, server.on("/f", Answer(BODY, told_length=False)), shown="fix.zip")

    def test_no_server_and_no_url_are_errors_that_hold_no_url(self, client: httpx.Client) -> None:
        for url in (f"http://127.0.0.1:{free_port()}/f?{SECRET}", f"https://host:{SECRET}/"):
            with pytest.raises(ArtifactError) as caught:
                content_length(client, url, shown="fix.zip", first_wait_s=0.01)
            assert SECRET not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(client: httpx.Client) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client.timeout = httpx.Timeout(0.05)
        with pytest.raises(ArtifactError, match="ReadTimeout"):
            _hash(client, f"http://127.0.0.1:{silent.getsockname()[1]}/f")
