"""Ports and answers of this machine, as `local up` and a build look at them before they start a server."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra.prefect.server import OPTIONAL_SERVICES, answers, free_port, port_in_use, prefect_environment, start_prefect_server
from tests.unit.fetch.serving import Answer, serving


def test_a_port_in_use_is_seen_and_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert port_in_use(port)
        with pytest.raises(ConfigurationError, match=f"port {port} is in use") as caught:
            start_prefect_server(tmp_path / "home", port=port, services=False, with_parent=True)
    assert "--port" in caught.value.hint
    assert not (tmp_path / "home").exists()
    assert not port_in_use(port)


def test_a_free_port_is_free() -> None:
    port = free_port()
    assert not port_in_use(port)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", port))


@pytest.mark.parametrize(("status", "ready"), [(200, True), (204, False), (404, False), (503, False)])
def test_only_a_200_is_an_answer(status: int, ready: bool) -> None:
    with serving() as server:
        assert answers(server.on("/health", Answer(status=status))) is ready


@pytest.mark.parametrize("url", ["", "no-url", "file:///etc/hostname", "http://[", "http://127.0.0.1:x/"])
def test_an_address_that_is_none_does_not_answer(url: str) -> None:
    assert not answers(url)


def test_nobody_and_something_that_speaks_no_http_do_not_answer() -> None:
    assert not answers(f"http://127.0.0.1:{free_port()}/")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def greet() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        assert not answers(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        thread.join()


def test_no_proxy_is_asked_about_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        assert answers(server.on("/health", Answer()))


def test_prefect_gets_a_home_of_its_own_and_tells_nobody(tmp_path: Path) -> None:
    environment = prefect_environment(tmp_path)
    assert environment["PREFECT_HOME"] == str(tmp_path)
    assert (environment["PREFECT_SERVER_ANALYTICS_ENABLED"], environment["DO_NOT_TRACK"]) == ("false", "1")
    assert "PREFECT_API_URL" not in environment
    assert prefect_environment(tmp_path, api_url="http://x/api")["PREFECT_API_URL"] == "http://x/api"


def test_a_single_build_does_without_every_service_but_the_repossessor() -> None:
    from prefect.settings.models.server.services import ServerServicesSettings

    assert {*OPTIONAL_SERVICES, "repossessor"} == set(ServerServicesSettings.model_fields)
