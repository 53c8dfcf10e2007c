"""A scripted guest and a hurried link to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from infra.guest.limits import LinkLimits
from infra.guest.link import GuestLink
from infra.guest.package import ScriptPackage, build_package
from tests.contract.guest_link.scripted_guest import ScriptedGuest

HURRIED = LinkLimits(
    connect_s=2,
    operation_s=1,
    answer_s=4,
    reconnect_s=3,
    reconnect_pause_s=0.02,
    restart_s=8,
    restart_again_s=0.4,
    refused_s=0.3,
    ready_pause_s=0.05,
    poll_s=0.5,
    poll_pause_s=0.05,
    task_grace_s=0.2,
)

MakeLink = Callable[..., GuestLink]


@pytest.fixture
def guest() -> Iterator[ScriptedGuest]:
    with ScriptedGuest() as guest:
        yield guest


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> ScriptPackage:
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "Receive-StagePackage.ps1").write_text("'receive'\n")
    return build_package(folder)


@pytest.fixture
def make_link(guest: ScriptedGuest, package: ScriptPackage) -> Iterator[MakeLink]:
    """Makes links to the guest; each is closed at the end. Keywords change limits."""
    links: list[GuestLink] = []

    def make(**changes: object) -> GuestLink:
        link = GuestLink(guest.endpoint, limits=HURRIED.model_copy(update=changes), package=package)
        links.append(link)
        return link

    yield make
    for link in links:
        link.close()


@pytest.fixture
def link(make_link: MakeLink) -> GuestLink:
    return make_link()
