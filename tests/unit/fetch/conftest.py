"""A server to fetch from, and a client to fetch with."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from infra.fetch.http import make_client
from tests.unit.fetch.serving import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with make_client() as opened:
        yield opened
