"""A lock moves when it is told to, shows what moved, and refuses files that changed under an unchanged URL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from images.errors import ArtifactError, CloudError, UnresolvedLockError, UpstreamChangedError
from images.loading import definition_digest
from images.lock import LockOrigin
from images.lock_diff import ChangeKind
from infra.azure.marketplace import format_version, list_versions
from infra.azure.session import Cloud
from infra.fetch.http import ATTEMPTS
from tasks.lock_file import lock_path, read_lock
from tasks.make_lock import make_lock
from tasks.refresh_lock import refuse_alarms
from tasks.resolve_lock import resolve_lock
from tasks.upstream import Upstream
from tests.contract.lock.conftest import AS_OF, PAUSE, URL, LockedImage
from tests.standin_fixtures import SMALL, FaultControl

RUNTIME = {"features": SMALL["features"], "container_runtime": SMALL["container_runtime"]}
LATEST = {**SMALL["base"], "version": "latest"}
OLDER = {**SMALL["base"], "version": "20348.5386.260709"}


def _corrupt(image: LockedImage, **more: object) -> dict[str, object]:
    """The file of an image has other bytes."""
    return {"point": "origin.fetch", "key": URL.format(name=image.name), "fault": {"code": "corrupt"}, "times": None, **more}


@pytest.fixture
def newest(cloud: Cloud) -> str:
    """The newest version of SMALL's base image that the marketplace has today."""
    base = SMALL["base"]
    return format_version(list_versions(cloud, base["publisher"], base["offer"], base["sku"])[0])


def test_latest_and_prefixes_become_the_newest_exact_version(image: LockedImage, newest: str) -> None:
    for version in ("latest", "20348.*"):
        image.define(base={**SMALL["base"], "version": version})
        assert image.refresh().new.base_version == newest
    image.define(base=OLDER)
    assert image.refresh().new.base_version == OLDER["version"]


def test_a_base_that_does_not_exist_is_named_with_the_newest_there_are(image: LockedImage, newest: str) -> None:
    image.define(base={**SMALL["base"], "version": "20348.9.*"})
    with pytest.raises(CloudError, match=r"no version 20348\.9\.\*") as caught:
        image.refresh()
    assert newest in caught.value.hint


def test_a_first_lock_has_everything_and_a_second_moves_nothing(image: LockedImage) -> None:
    image.define(**RUNTIME, container_images=[PAUSE], base=LATEST)
    first = image.lock()
    assert first.old is None
    assert first.difference.first
    assert read_lock(first.path) == first.new
    (locked,) = first.new.container_images
    assert str(locked.os_version).startswith("10.0.20348.")
    assert locked.manifest not in (None, locked.digest)
    assert locked.size_bytes > 10_000
    second = image.refresh()
    assert second.old == second.new == first.new
    assert not second.difference


def test_refreshing_writes_nothing(image: LockedImage) -> None:
    assert not image.refresh().path.exists()


def test_a_base_that_moved_is_the_only_difference(image: LockedImage, newest: str) -> None:
    image.define(base=LATEST)
    first = image.lock()
    old = first.new.model_copy(update={"base_version": OLDER["version"]})
    first.path.write_text(first.path.read_text().replace(first.new.base_version, OLDER["version"]))
    moved = image.refresh()
    assert moved.old == old
    assert [(change.kind, str(change.old), str(change.new)) for change in moved.difference.changes] == [
        (ChangeKind.MOVED, OLDER["version"], newest)
    ]
    refuse_alarms(moved.difference)


def test_a_moved_tag_is_a_move_and_no_alarm(image: LockedImage, move_tag: Callable[[str, str], None]) -> None:
    other = "mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.1"
    image.define(**RUNTIME, container_images=[PAUSE, other])
    first = image.lock()
    move_tag(PAUSE, other)
    moved = image.refresh()
    (change,) = moved.difference.changes
    assert (change.kind, change.name) == (ChangeKind.MOVED, PAUSE)
    assert moved.new.container_images[0].digest == first.new.container_images[1].digest
    refuse_alarms(moved.difference)


def test_an_image_without_the_base_s_windows_build_is_refused_with_what_there_is(image: LockedImage) -> None:
    image.define(**RUNTIME, container_images=["mcr.microsoft.com/windows/nanoserver:1809"])
    with pytest.raises(ArtifactError, match=r"Windows build 20348; there is: windows/amd64 10\.0\.17763"):
        image.refresh()


def test_images_of_server_2022_and_for_every_build_are_taken_on_a_newer_host(image: LockedImage) -> None:
    base = {**SMALL["base"], "offer": "WindowsServer", "sku": "2025-datacenter-core-smalldisk", "version": "latest"}
    host_process = "mcr.microsoft.com/oss/v2/kubernetes-csi/azuredisk-csi:v1.34.5-windows-hp"
    images = ["mcr.microsoft.com/windows/nanoserver:ltsc2022", host_process]
    image.define(base=base, **RUNTIME, container_images=images)
    older, every = image.refresh().new.container_images
    assert str(older.os_version).startswith("10.0.20348.")
    assert every.os_version is None


class TestChangedFiles:
    """Other bytes under an unchanged URL."""

    def test_they_are_an_alarm_that_names_the_new_hash(self, image: LockedImage, faults: FaultControl) -> None:
        first = image.lock()
        faults(_corrupt(image))
        changed = image.refresh()
        (alarm,) = changed.difference.alarms
        assert (alarm.name, alarm.kind) == (URL.format(name=image.name), ChangeKind.UPSTREAM_CHANGED)
        with pytest.raises(UpstreamChangedError) as caught:
            refuse_alarms(changed.difference)
        assert first.new.files[0].sha256 in str(caught.value)
        assert f"--accept {changed.new.files[0].sha256}" in caught.value.hint
        assert caught.value.exit_code == 21

    def test_an_accepted_one_stands_in_the_lock_from_then_on(self, image: LockedImage, faults: FaultControl) -> None:
        first = image.lock()
        faults(_corrupt(image))
        new = image.refresh().new.files[0].sha256
        accepted = image.lock(accept={new})
        refuse_alarms(accepted.difference)
        written = read_lock(accepted.path)
        assert written is not None
        assert (written.files[0].sha256, written.files[0].replaces) == (new, first.new.files[0].sha256)
        assert not image.refresh().difference

    def test_a_transfer_that_broke_once_is_no_change(self, image: LockedImage, faults: FaultControl) -> None:
        image.lock()
        faults(_corrupt(image, times=1))
        assert not image.refresh().difference
        assert faults.struck() == {"origin.fetch corrupt": 1}

    def test_other_bytes_each_time_are_no_file(self, image: LockedImage, faults: FaultControl) -> None:
        image.lock()
        # A body that is cut has the length that was announced, and so is no broken transfer for HTTP.
        faults(_corrupt(image, times=1), _corrupt(image, fault={"code": "truncated"}))
        with pytest.raises(ArtifactError, match="other bytes each time"):
            image.refresh()

    def test_a_build_refuses_them_too_when_it_must_make_its_lock(self, image: LockedImage, faults: FaultControl, cloud: Cloud) -> None:
        first = image.lock()
        image.define(os_disk_gib=40)
        faults(_corrupt(image))
        with pytest.raises(UpstreamChangedError):
            resolve_lock(image.definition, image.file, cloud)
        assert read_lock(first.path) == first.new

    def test_a_file_that_its_definition_promises_otherwise_is_refused(self, image: LockedImage) -> None:
        package = {"url": URL.format(name=image.name), "destination": "C:\\akse-cache\\tools\\", "sha256": "ab" * 32}
        image.define(packages=[package])
        with pytest.raises(ArtifactError, match=f"the definition promises {'ab' * 32}"):
            image.refresh()


class TestOutages:
    """What is down ends the refresh with its name; the lock stays."""

    def test_an_origin_that_is_down(self, image: LockedImage, faults: FaultControl) -> None:
        first = image.lock()
        faults({"point": "origin.fetch", "key": URL.format(name=image.name), "fault": {"code": "unreachable"}, "times": None})
        with pytest.raises(ArtifactError, match=f"can not fetch {URL.format(name=image.name)}: HTTP 502") as caught:
            image.refresh()
        assert caught.value.hint
        assert faults.struck() == {"origin.fetch unreachable": ATTEMPTS}
        assert read_lock(first.path) == first.new

    def test_a_registry_that_is_down(self, image: LockedImage, faults: FaultControl) -> None:
        image.define(**RUNTIME, container_images=[PAUSE])
        faults({"point": "origin.fetch", "key": "https://mcr.microsoft.com/v2/*", "fault": {"code": "down", "status": 503}, "times": None})
        with pytest.raises(ArtifactError, match=r"can not fetch https://mcr\.microsoft\.com/v2/.*HTTP 503"):
            image.refresh()

    def test_a_marketplace_that_refuses(self, image: LockedImage, faults: FaultControl) -> None:
        rule = {"point": "arm.request", "key": "GET *publishers*", "fault": {"code": "AuthorizationFailed", "status": 403}, "times": None}
        faults(rule)
        with pytest.raises(CloudError, match="list versions of") as caught:
            image.refresh()
        assert caught.value.code == "AuthorizationFailed"


class TestBuilds:
    """A build uses the lock that is there; only `winvhd lock` and the monthly run move it."""

    def test_what_moved_upstream_does_not_move_a_build(
        self, image: LockedImage, cloud: Cloud, move_tag: Callable[[str, str], None]
    ) -> None:
        other = "mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.1"
        image.define(base=LATEST, **RUNTIME, container_images=[PAUSE, other])
        first = resolve_lock(image.definition, image.file, cloud)
        path = lock_path(image.file, LockOrigin.STAND_IN)
        path.write_text(path.read_text().replace(first.base_version, OLDER["version"]))
        move_tag(PAUSE, other)
        again = resolve_lock(image.definition, image.file, cloud)
        assert again == first.model_copy(update={"base_version": OLDER["version"]})
        assert len(image.refresh().difference.changes) == 2

    def test_an_image_whose_digest_the_stand_in_can_not_give_is_locked_anew(self, image: LockedImage, cloud: Cloud) -> None:
        image.define(**RUNTIME, container_images=[PAUSE])
        first = resolve_lock(image.definition, image.file, cloud)
        path = lock_path(image.file, LockOrigin.STAND_IN)
        path.write_text(path.read_text().replace(first.container_images[0].digest, f"sha256:{'0' * 64}"))
        assert resolve_lock(image.definition, image.file, cloud) == first

    def test_another_definition_gets_another_lock(self, image: LockedImage, cloud: Cloud) -> None:
        first = resolve_lock(image.definition, image.file, cloud)
        image.define(os_disk_gib=40)
        second = resolve_lock(image.definition, image.file, cloud)
        assert second.definition_sha256 == definition_digest(image.definition) != first.definition_sha256
        assert read_lock(lock_path(image.file, LockOrigin.STAND_IN)) == second

    def test_an_artifact_that_moved_keeps_its_lock_and_one_that_is_gone_does_not(
        self, image: LockedImage, cloud: Cloud, move_tag: Callable[[str, str], None]
    ) -> None:
        tag = "mcr.microsoft.com/aks/packages/artifacts/{}:1".format
        artifacts = [{"reference": tag(f"{image.name}-{part}"), "destination": f"C:\\akse-cache\\{part}"} for part in "ab"]
        image.define(oci_artifacts=artifacts)
        first = resolve_lock(image.definition, image.file, cloud)
        move_tag(tag(f"{image.name}-a"), tag(f"{image.name}-b"))
        assert resolve_lock(image.definition, image.file, cloud) == first
        path = lock_path(image.file, LockOrigin.STAND_IN)
        path.write_text(path.read_text().replace(first.oci_artifacts[0].digest, f"sha256:{'0' * 64}"))
        assert resolve_lock(image.definition, image.file, cloud).oci_artifacts[0].digest == first.oci_artifacts[1].digest


class TestPublicLocks:
    """Locks of the azure profile, which lie beside their definitions."""

    @pytest.fixture
    def public(self, image: LockedImage) -> LockedImage:
        profile = image.cloud.profile.model_copy(update={"name": "azure", "source_address": "127.0.0.1"})
        image.cloud = Cloud(profile)
        return image

    def test_they_are_public_and_lie_beside_the_definition(self, public: LockedImage) -> None:
        refreshed = public.lock()
        assert refreshed.path == public.file.with_name(f"{public.name}.lock.yaml")
        assert refreshed.new.origin is LockOrigin.PUBLIC

    def test_a_damaged_one_is_refused_since_nothing_could_be_compared(self, public: LockedImage) -> None:
        path = public.lock().path
        path.write_text("{")
        with pytest.raises(UnresolvedLockError, match="nobody can tell what changed") as caught:
            public.refresh()
        assert caught.value.where == str(path)

    def test_one_of_the_stand_in_is_no_lock_to_compare_with(self, public: LockedImage) -> None:
        first = public.lock()
        text = first.path.read_text().replace("origin: public", "origin: stand-in").replace(first.new.files[0].sha256, "ab" * 32)
        first.path.write_text(text)
        assert public.refresh().difference.first


def test_a_damaged_lock_of_the_stand_in_is_made_anew(image: LockedImage, cloud: Cloud) -> None:
    path = image.lock().path
    path.write_text("{")
    assert resolve_lock(image.definition, image.file, cloud) == read_lock(path)


def test_images_of_one_refresh_fetch_what_they_share_once(image: LockedImage, cloud: Cloud, faults: FaultControl) -> None:
    upstream = Upstream(cloud)
    first = image.refresh(upstream=upstream)
    faults(_corrupt(image))
    assert image.refresh(upstream=upstream).new == first.new
    assert sum(faults.struck().values()) == 0
    assert image.refresh().new != first.new


def test_make_lock_is_the_lock_of_now(image: LockedImage, cloud: Cloud) -> None:
    assert make_lock(image.definition, cloud, LockOrigin.STAND_IN, as_of=AS_OF) == image.refresh().new
