"""Ports for guests that share one address."""

from __future__ import annotations

import socket

from infra.guest.guest_port import guest_port


def test_each_guest_gets_a_port_of_its_own_that_nobody_is_given_by_chance() -> None:
    ports = [guest_port() for _ in range(20)]
    assert len(set(ports)) == 20
    assert all(20_000 <= port < 32_000 for port in ports)


def test_a_port_that_somebody_has_is_passed_over_whether_it_listens_or_not() -> None:
    here = guest_port()
    with socket.socket() as bound, socket.socket() as listening:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", here + 1))
        listening.bind(("127.0.0.1", here + 2))
        listening.listen()
        assert guest_port() not in {here, here + 1, here + 2}
