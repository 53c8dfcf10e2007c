"""Guests to link to: a scripted one, and a VM of the stand-in; both with hurried links."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.guest.link import GuestLink
from infra.guest.package import ScriptPackage, build_package
from infra.local.machine.base import create_base_disk
from tests.contract.guest_link.build_guest import BASE, HURRIED, LIMITS, BuildGuest
from tests.contract.guest_link.scripted_guest import ScriptedGuest

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


@pytest.fixture(scope="session")
def base_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "disk"
    create_base_disk(folder, BASE, 30)
    return folder


@pytest.fixture
def build(tmp_path: Path, base_disk: Path) -> Iterator[BuildGuest]:
    """A booted VM of the stand-in."""
    with BuildGuest(base_disk, tmp_path / "disks") as guest:
        yield guest


@pytest.fixture
def build_link(build: BuildGuest) -> Iterator[GuestLink]:
    """A link to it after first contact."""
    with GuestLink(build.contact(), limits=LIMITS) as link:
        yield link
