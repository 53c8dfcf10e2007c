"""Ways to publish private work, by accident or not: each is refused, and nothing is left where others read."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.errors import CopyError, DefinitionError, PrivateImageError
from images.inventory import Inventory, RegistryValue
from images.plan import BuildPlan, make_plan
from images.privacy import MARK_KEY, MARK_VALUE, PUBLIC_SCOPE, SCOPE_FIELD, private_scope, require_private_place
from images.private_fix import FixKind, PrivateFix
from infra.azure.blob_copy import VhdSource, copy_vhd
from infra.azure.blob_storage import ensure_container
from infra.azure.disk_capture import CapturedVhd
from infra.azure.session import Cloud
from infra.azure.version_register import VersionRegister
from infra.local.disks.vhd_writer import write_vhd
from infra.local.machine.disk import MachineDisk
from tasks.build import Build, open_build
from tasks.copy_image import copy_image
from tests.unit.images.notes.parts import small_inventory
from tests.unit.images.samples import lock_of, rich_definition, scripts
from tests.unit.vhd.sample_disk import make_sample_disk

SCOPE = private_scope("3f0c9a1b22d4")
_PIECE = 1 << 20
SECRETS = ("3f0c9a1b22d4", "the-block", "sig=")


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """VHDs of one machine: public, with the mark inside, and one that nobody can read."""
    folder = tmp_path_factory.mktemp("disks")
    disk = make_sample_disk(folder / "disk", "V1")
    write_vhd(disk, folder / "public.vhd")
    MachineDisk.open(folder / "disk").copy_to(folder / "marked")
    marked = MachineDisk.open(folder / "marked")
    marked.make_key(MARK_KEY).set(MARK_VALUE, SCOPE)
    write_vhd(marked, folder / "marked.vhd")
    # As BitLocker leaves a volume.
    (folder / "encrypted.vhd").write_bytes((folder / "public.vhd").read_bytes().replace(b"NTFS    ", b"-FVE-FS-"))
    return {name: folder / f"{name}.vhd" for name in ("public", "marked", "encrypted")}


@pytest.fixture
def place(cloud: Cloud) -> str:
    """A container that others read, of this test alone."""
    name = f"t{uuid.uuid4().hex}"
    ensure_container(cloud, name)
    return name


@pytest.fixture
def stored(cloud: Cloud, disks: dict[str, Path]) -> Callable[..., VhdSource]:
    """Puts one of the VHDs into a container and gives its place."""

    def put(disk: str, container: str, name: str = "image.vhd", metadata: dict[str, str] | None = None) -> VhdSource:
        ensure_container(cloud, container)
        path = disks[disk]
        size = path.stat().st_size
        with cloud.blobs().get_blob_client(container, name) as blob, path.open("rb") as content:
            blob.create_page_blob(size, metadata=metadata)
            for start in range(0, size, _PIECE):
                content.seek(start)
                piece = content.read(_PIECE)
                if piece.strip(b"\0"):
                    blob.upload_page(piece, offset=start, length=len(piece))
        return VhdSource(container, name, hashlib.sha256(path.read_bytes()).hexdigest(), size)

    return put


@contextmanager
def refused(cloud: Cloud, target: str, error: type[Exception] = PrivateImageError) -> Iterator[None]:
    """The block is refused with a text that names nothing private, and the target container is empty or not there."""
    with pytest.raises(error) as caught:
        yield
    for secret in SECRETS:
        assert secret not in f"{caught.value} {caught.value!r}"
    (access,) = cloud.profile.copy_targets
    with cloud.blobs(access).get_container_client(target) as container:
        try:
            assert list(container.list_blobs()) == []
        except ResourceNotFoundError:
            return


def copy(cloud: Cloud, source: VhdSource, target: str, name: str = "copy.vhd") -> None:
    copy_vhd(cloud, source, cloud.profile.copy_targets[0], target, name)


@contextmanager
def a_build(scope: str = PUBLIC_SCOPE, image: str = "patient") -> Iterator[Build]:
    with open_build(image, "local", scope=scope) as build:
        yield build


def plan_of(**changes: Any) -> BuildPlan:
    definition = rich_definition().model_copy(update={"private_packages": ()})
    return make_plan(definition, lock_of(definition), scripts=scripts(), uploads={"NOTICE": "thanks"}, **changes)


FIX = PrivateFix(sha256="3f0c9a1b22d4" + "0" * 52, kind=FixKind.MSU, block="the-block")


def captured(source: VhdSource) -> CapturedVhd:
    return CapturedVhd(source.container, source.blob_name, "https://x/y", source.sha256, source.size_bytes, source.size_bytes, "pages")


def test_the_refusals_refuse_private_work_only(cloud: Cloud, stored: Callable[..., VhdSource], place: str) -> None:
    source = stored("public", place)
    copy(cloud, source, place)
    VersionRegister(cloud, container=place).release("img", "20348.5386.26071401", small_inventory().model_dump_json().encode())
    with a_build() as build:
        assert copy_image.fn(build, plan_of(), captured(source), f"winvhdcopy/{place}", "another").sha256 == source.sha256


@pytest.mark.parametrize(
    "plan", [plan_of(fix=FIX), plan_of(scope=SCOPE), plan_of(fix=FIX, scope=SCOPE)], ids=["fix", "baseline", "patched"]
)
def test_1_copying_what_a_private_plan_made(cloud: Cloud, stored: Callable[..., VhdSource], place: str, plan: BuildPlan) -> None:
    source = captured(stored("public", place))
    with a_build() as build, refused(cloud, place):
        copy_image.fn(build, plan, source, f"winvhdcopy/{place}", "renamed")


def test_2_copying_from_a_build_whose_tags_are_private(cloud: Cloud, stored: Callable[..., VhdSource], place: str) -> None:
    source = captured(stored("public", place))
    with a_build() as build, refused(cloud, place):
        tagged = replace(build, tags=build.tags.model_copy(update={"scope": SCOPE}))
        copy_image.fn(tagged, plan_of(), source, f"winvhdcopy/{place}", "renamed")


def test_3_asking_for_a_copy_of_an_image_with_private_packages(
    cloud: Cloud, define: Callable[..., str], resource_groups: Callable[[], list[str]], place: str
) -> None:
    package = {"secret": "the-block", "destination": "C:\\akse-cache\\", "file_name": "fix.zip", "sha256": "3f0c9a1b22d4" + "0" * 52}
    path = define(name="withprivate", private_packages=[package], e2e_suites=[])
    with refused(cloud, place):
        build_image(ImageChoice(path), "local", f"winvhdcopy/{place}")
    # It was refused before anything was built.
    assert not [group for group in resource_groups() if "withprivate" in group]


def test_4_copying_out_of_a_private_container(cloud: Cloud, stored: Callable[..., VhdSource], place: str) -> None:
    source = stored("public", f"{SCOPE}-{place[:8]}")
    with refused(cloud, place):
        copy(cloud, source, place)


def test_5_copying_a_blob_from_a_private_folder_or_to_a_private_name(cloud: Cloud, stored: Callable[..., VhdSource], place: str) -> None:
    source = stored("public", place, name=f"{SCOPE}/image.vhd")
    with refused(cloud, place):
        copy(cloud, source, place)
    with refused(cloud, place):
        copy(cloud, stored("public", place), place, name=f"{SCOPE}.vhd")


def test_6_copying_a_renamed_blob_that_kept_its_metadata(cloud: Cloud, stored: Callable[..., VhdSource], place: str) -> None:
    source = stored("public", place, metadata={SCOPE_FIELD: SCOPE})
    with refused(cloud, place):
        copy(cloud, source, place)


def test_7_copying_out_of_a_container_that_was_marked(cloud: Cloud, stored: Callable[..., VhdSource], place: str) -> None:
    source = stored("public", place)
    with cloud.blobs().get_container_client(place) as container:
        container.set_container_metadata({SCOPE_FIELD: SCOPE})
    with refused(cloud, place):
        copy(cloud, source, place)


def test_8_copying_a_private_vhd_that_was_put_among_the_public_ones(cloud: Cloud, stored: Callable[..., VhdSource], place: str) -> None:
    """Name, place and metadata are public; only the disk inside still tells."""
    source = stored("marked", place, name="windows-2022-0123456789ab/image.vhd")
    with refused(cloud, place):
        copy(cloud, source, place)
    with a_build() as build, refused(cloud, place):
        copy_image.fn(build, plan_of(), captured(source), f"winvhdcopy/{place}", "renamed")


def test_9_copying_a_disk_in_which_the_mark_can_not_be_looked_for(cloud: Cloud, stored: Callable[..., VhdSource], place: str) -> None:
    source = stored("encrypted", place)
    with refused(cloud, place, CopyError):
        copy(cloud, source, place)


def marked_inventory() -> Inventory:
    mark = RegistryValue(path=MARK_KEY, name=MARK_VALUE, type="String", value=SCOPE)
    return small_inventory().model_copy(update={"registry": (mark,)})


@pytest.mark.parametrize(
    ("image", "inventory"),
    [
        ("img", marked_inventory().model_dump_json().encode()),
        ("img", b'{"schema": "of another time", "keys": ["HKLM:\\\\SOFTWARE\\\\WinVHD"]}'),
        (SCOPE, small_inventory().model_dump_json().encode()),
    ],
    ids=["mark in the inventory", "mark in an inventory of another time", "name"],
)
def test_10_recording_a_private_image_as_a_release(cloud: Cloud, place: str, image: str, inventory: bytes) -> None:
    register = VersionRegister(cloud, container=place)
    with refused(cloud, place):
        register.release(image, "20348.5386.26071401", inventory)
    assert register.previous(image, "20348.5499.26081201") is None


def test_11_calling_a_definition_private(define: Callable[..., str], cloud: Cloud, place: str) -> None:
    with pytest.raises(DefinitionError, match="begins with `private`"):
        build_image(ImageChoice(define(name="private-work", e2e_suites=[])), "local")


def test_12_storing_results_of_a_private_build_where_others_read(cloud: Cloud, place: str) -> None:
    with a_build(SCOPE) as build, refused(cloud, place):
        require_private_place(build.scope, place)
