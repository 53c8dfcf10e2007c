"""The stand-in's Internet as of a day, a server that answers as a test says, and a client for both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from infra.azure.profile import CloudProfile, StorageAccess
from infra.azure.session import Cloud
from infra.fetch.http import make_client
from infra.local.contracts import Outside
from infra.local.faults import Fault, FaultPlan, FaultRule, Faults
from infra.local.origin.server import create_app
from infra.local.pretended_date import PretendedDate
from tests.unit.fetch.serving import Server, serving
from tests.unit.local.origin.serving import serve


@dataclass
class Microsoft:
    """The stand-in's Internet, the day that it pretends, and what goes wrong there."""

    gateway: str
    today: PretendedDate
    faults: Faults

    def route(self, url: str) -> str:
        """Where it answers for a public URL."""
        return Outside(self.gateway).route(url)

    def strike(self, code: str, status: int = 500, times: int | None = None, **more: int) -> None:
        """Let a fault strike at each fetch."""
        fault = Fault(code=code, status=status, **more)
        self.faults.replace(FaultPlan(rules=(FaultRule(point="origin.fetch", fault=fault, times=times),)))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Microsoft]:
    today, faults = PretendedDate(), Faults()
    with serve(create_app(tmp_path_factory.mktemp("origin"), faults, today=today)) as gateway:
        yield Microsoft(gateway, today, faults)


@pytest.fixture
def microsoft(world: Microsoft) -> Iterator[Microsoft]:
    """The world with everything released and nothing wrong; it is so again after the test."""
    yield world
    world.today.pretend(None)
    world.faults.replace(FaultPlan())


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with make_client() as opened:
        yield opened


@pytest.fixture
def feed_path(tmp_path: Path) -> Path:
    return tmp_path / "feed.yaml"


@pytest.fixture
def cloud(microsoft: Microsoft) -> Cloud:
    """A session whose outside is the stand-in's Internet, and that has nothing else."""
    return Cloud(
        CloudProfile(
            name="local",
            subscription_id="00000000-0000-0000-0000-000000000001",
            location="westus3",
            vm_sizes=("Standard_D4s_v5",),
            arm_endpoint="http://127.0.0.1:9",
            credential="none",
            storage=StorageAccess(account="none", endpoint="http://127.0.0.1:9/none"),
            outside_gateway=microsoft.gateway,
            poll_interval_s=0.001,
        )
    )
