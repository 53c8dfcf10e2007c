"""A private fix goes through the same layers, capture and boot test as any image, and leaves its address nowhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from pydantic import SecretStr

from images.errors import BootTestError, BuildError, StageError
from images.loading import load_definition, read_uploads
from images.plan import BuildPlan, make_plan
from images.privacy import mark_of, private_scope
from images.private_fix import PrivateFix
from images.stages.fix import FIX_RECORD
from infra.azure.blob_storage import BuildBlobs, ensure_container
from infra.azure.profile import CloudProfile
from infra.guest.package import guest_scripts
from infra.local.origin.private_fixes import fix_body, fix_url
from infra.prefect.private_fix_source import PrivateFixSource
from infra.vhd.image_file import open_image
from infra.vhd.inspect import open_file
from infra.vhd.ntfs import NtfsVolume
from infra.vhd.partitions import read_partitions, windows_partition
from infra.vhd.private_mark import private_mark
from tasks.build import Build, open_build
from tasks.build_once import build_once
from tasks.capture_vhd import VHD_NAME
from tasks.provision_vm import resources_of
from tasks.resolve_lock import resolve_lock
from tasks.store_results import BuiltImage, Recipe, keep_documents

SWITCH = {"path": r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State", "name": "EnableCompartmentNamespace", "value": 0}


def fix_of(path: str, url: str = "", **changes: Any) -> PrivateFix:
    """A fix of the stand-in, its address in a block."""
    body, kind = fix_body(path), path.rpartition(".")[2]
    assert body is not None
    name = path.replace(".", "-").replace("/", "-")
    PrivateFixSource(url=SecretStr(url or fix_url(path))).save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]
    fields = {"sha256": hashlib.sha256(body).hexdigest(), "kind": kind, "block": name, **changes}
    return PrivateFix.model_validate(fields)


@dataclass
class Side:
    """One side of a validation: its build, its plan, and what came out unless it failed."""

    build: Build
    plan: BuildPlan
    built: BuiltImage | None = None

    @property
    def documents(self) -> str:
        """Everything that is written about it."""
        files = [path for path in self.build.folder.rglob("*") if path.is_file() and path.suffix != ".vhd"]
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


def build_side(file: Path, scope: str, fix: PrivateFix | None) -> tuple[Side, BuildError | None]:
    """Build a definition in a private scope; gives the error that ended it, if one did."""
    sides: list[Side] = []

    @flow(name="one-side", persist_result=False)
    def run() -> None:
        definition = load_definition(file)
        with open_build(definition.name, "local", scope=scope) as build:
            for container in (build.cache_container, build.builds_container):
                ensure_container(build.cloud, container)
            lock = resolve_lock(definition, file, build.cloud)
            plan = make_plan(definition, lock, scripts=guest_scripts(), uploads=read_uploads(definition), fix=fix, scope=scope)
            sides.append(Side(build, plan))
            blobs = BuildBlobs(build.cloud, build.build_id, container=build.builds_container)
            with resources_of(build, plan):
                try:
                    sides[0].built = build_once(build, Recipe(definition, lock, plan), blobs)
                except BuildError as error:
                    keep_documents(build, blobs, error)
                    raise

    try:
        run()
    except BuildError as error:
        return sides[0], error
    return sides[0], None


def has_record(vhd: Path) -> bool:
    """True for an image that says what a private fix changed in it."""
    with open_file(vhd) as reader:
        image = open_image(reader)
        disk = image.disk
        part = windows_partition(disk, read_partitions(disk, image.size_bytes))
        with NtfsVolume(disk, part.offset, part.size_bytes) as volume:
            return volume.find(FIX_RECORD) is not None


def outcomes(build: Build) -> dict[str, set[str]]:
    """Layer -> how its steps ended."""
    found: dict[str, set[str]] = {}
    for step in build.timings.steps:
        if step.layer:
            found.setdefault(step.layer, set()).add(step.outcome)
    return found


@pytest.fixture
def file(define: Callable[..., str], profile: CloudProfile) -> Path:
    return Path(define(name="patient", e2e_suites=["first-boot", "networking"], container_images=None))


def test_the_baseline_has_the_defect_and_the_patched_image_on_the_same_layers_has_not(file: Path) -> None:
    scope = private_scope("layers-test")
    baseline, error = build_side(file, scope, None)
    assert isinstance(error, BootTestError)
    assert "the endpoint has an address" in error.what
    patched, error = build_side(file, scope, fix_of("20348.5510/fixed.zip", registry=[SWITCH]))
    assert error is None
    assert patched.built is not None
    assert all(case.outcome == "passed" for case in patched.built.cases)
    assert {case.suite for case in patched.built.cases} == {"first-boot", "networking", "private-fix"}
    assert mark_of(patched.built.facts.inventory) == scope == patched.plan.scope
    assert patched.built.captured.container == scope
    with open_file(patched.build.folder / VHD_NAME) as reader:
        assert private_mark(reader) == scope
    # What the test goes by lies in the patched image alone.
    assert [has_record(side.build.folder / VHD_NAME) for side in (baseline, patched)] == [False, True]
    ended = outcomes(patched.build)
    public = ("os", "runtime", "artifacts")
    assert {name: ended[name] for name in public} == {name: {"reused"} for name in public}
    assert ended["fix"] == ended["finish"] == {"built"}
    for secret in ("privatefixes", "fixed.zip", "sig="):
        assert secret not in patched.documents


@pytest.mark.parametrize(
    ("path", "forged", "code"),
    [("20348.5511/fixed.msu", True, "download-refused"), ("20348.5511/rolled-back.cab", False, "fix-rolled-back")],
)
def test_a_fix_that_fails_says_why_with_a_hint_and_without_its_address(
    file: Path, path: str, forged: bool, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = fix_url(path).replace("sig=", "sig=A") if forged else fix_url(path)
    failed, error = build_side(file, private_scope("failing-fix"), fix_of(path, url))
    assert isinstance(error, StageError)
    assert error.code == code
    assert error.hint
    said = f"{error!r} {error} {error.stderr_tail} {caplog.text} {failed.documents}"
    for secret in ("privatefixes", path.rpartition("/")[2], "sig="):
        assert secret not in said
