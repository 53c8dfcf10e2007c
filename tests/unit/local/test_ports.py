"""Ports of 127.0.0.1 that belong to machines, whether these are on or off."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from infra.local.guest.ports import PortClaims, PortInUseError
from infra.prefect.server import free_port


@pytest.fixture
def claims() -> Iterator[PortClaims]:
    claims = PortClaims()
    yield claims
    claims.release_all()


def test_the_owner_listens_as_often_as_it_likes_and_nobody_answers_in_between(claims: PortClaims) -> None:
    port = free_port()
    for _ in range(3):
        claims.claim(port, "one")
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_another_machine_gets_it_only_once_it_is_released(claims: PortClaims) -> None:
    port = free_port()
    claims.claim(port, "one")
    with pytest.raises(PortInUseError, match=f"port {port} .* belongs to one"):
        claims.claim(port, "other")
    claims.release("one")
    claims.claim(port, "other")


def test_a_machine_that_takes_another_port_gives_the_first_one_back(claims: PortClaims) -> None:
    first = free_port()
    claims.claim(first, "one")
    second = free_port()
    assert second != first
    claims.claim(second, "one")
    claims.claim(first, "other")


def test_a_port_that_somebody_else_uses_is_refused(claims: PortClaims) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match="Address already in use"):
            claims.claim(port, "one")
    claims.claim(port, "one")
