"""One build at a time makes a layer: others are refused, a dead holder's lease ends, and a holder that lost it knows."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from images.errors import CloudError
from infra.azure.blob_storage import ensure_container
from infra.azure.layer_lease import SHORTEST_LEASE_S, LayerLease, LeaseLostError, holder_of, try_acquire
from infra.azure.profile import CloudProfile
from infra.azure.session import Cloud, open_cloud
from infra.local.azurite import Azurite
from tests.contract.azure_adapters.cut_line import CutLine

FINGERPRINT = "ab" * 32


@dataclass
class Layers:
    """Leases on layers of one container."""

    cloud: Cloud
    container: str
    held: ExitStack = field(default_factory=ExitStack)

    def take(
        self, holder: str = "build-1", *, fingerprint: str = FINGERPRINT, scope: str = "public", cloud: Cloud | None = None
    ) -> LayerLease | None:
        """A lease that is renewed often, given back after the test."""
        lease = try_acquire(
            cloud or self.cloud,
            scope=scope,
            fingerprint=fingerprint,
            holder=holder,
            container=self.container,
            duration_s=SHORTEST_LEASE_S,
            renew_s=0.2,
        )
        return None if lease is None else self.held.enter_context(lease)

    def holder(self, fingerprint: str = FINGERPRINT) -> str | None:
        """Who holds the lease."""
        return holder_of(self.cloud, "public", fingerprint, container=self.container)


@pytest.fixture
def layers(cloud: Cloud, container: str) -> Iterator[Layers]:
    ensure_container(cloud, container)
    layers = Layers(cloud, container)
    with layers.held:
        yield layers


class HolderProcess:
    """Another process that holds the lease on a layer."""

    def __init__(self, profile: CloudProfile, container: str, fingerprint: str, holder: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.azure_adapters.lease_holder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        described = profile.model_dump(mode="json")
        assert profile.storage.key is not None
        described["storage"]["key"] = profile.storage.key.get_secret_value()
        described["copy_targets"] = []
        given = {"profile": described, "container": container, "scope": "public", "fingerprint": fingerprint, "holder": holder}
        assert self.ask(json.dumps(given)) == "held"

    def ask(self, line: str = "") -> str:
        """What it answers to a line."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __enter__(self) -> HolderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def _must_be_held_says(lease: LayerLease) -> str:
    with pytest.raises(LeaseLostError) as caught:
        lease.must_be_held()
    assert "run the build again" in caught.value.hint
    return caught.value.what


def test_a_held_lease_refuses_everybody_else_and_names_its_holder(layers: Layers) -> None:
    lease = layers.take("build-1")
    assert lease is not None
    lease.must_be_held()
    assert layers.holder() == "build-1"
    assert layers.take("build-2") is None
    # A retry of the same build may run beside a process that is not dead.
    assert layers.take("build-1") is None


def test_other_layers_and_scopes_are_other_leases(layers: Layers) -> None:
    assert layers.take() is not None
    assert layers.take(scope="build-1") is not None
    assert layers.take(fingerprint="cd" * 32) is not None


def test_a_released_lease_is_free_at_once_and_leaves_no_blob(layers: Layers) -> None:
    lease = layers.take("build-1")
    assert lease is not None
    lease.release()
    lease.release()
    assert layers.holder() is None
    with layers.cloud.blobs().get_container_client(layers.container) as container:
        assert list(container.list_blob_names()) == []
    assert "given back" in _must_be_held_says(lease)
    second = layers.take("build-2")
    assert second is not None
    assert layers.holder() == "build-2"


def test_a_lease_is_released_after_an_error_in_its_block(layers: Layers) -> None:
    lease = layers.take()
    assert lease is not None
    with pytest.raises(ZeroDivisionError), lease:
        _ = 1 / 0
    assert layers.holder() is None


def test_of_many_builds_at_the_same_time_one_gets_the_lease(layers: Layers) -> None:
    ready = threading.Barrier(6)

    def take(number: int) -> LayerLease | None:
        ready.wait()
        return layers.take(f"build-{number}")

    with ThreadPoolExecutor(6) as pool:
        leases = list(pool.map(take, range(6)))
    winners = [number for number, lease in enumerate(leases) if lease is not None]
    assert len(winners) == 1
    assert layers.holder() == f"build-{winners[0]}"


@pytest.mark.parametrize("how", ["broken and taken", "blob deleted"])
def test_a_lease_that_an_operator_took_away_is_lost_at_once_and_spares_the_next_holder(layers: Layers, how: str) -> None:
    lease = layers.take("build-1")
    assert lease is not None
    with layers.cloud.blobs().get_blob_client(layers.container, f"leases/public/{FINGERPRINT}") as blob:
        from azure.storage.blob import BlobLeaseClient

        BlobLeaseClient(blob).break_lease(0)
        if how == "blob deleted":
            blob.delete_blob()
    next_one = layers.take("build-2")
    assert next_one is not None
    said = _must_be_held_says(lease)
    assert "was lost: could not renew" in said and "ran out" not in said
    lease.release()
    next_one.must_be_held()
    assert layers.holder() == "build-2"


def test_a_container_that_is_missing_is_a_cloud_error(cloud: Cloud) -> None:
    with pytest.raises(CloudError, match=r"lease layer abababababab.*ContainerNotFound"):
        try_acquire(cloud, scope="public", fingerprint=FINGERPRINT, holder="build-1", container="not-there")


def test_a_lost_lease_crosses_process_borders_whole() -> None:
    error = pickle.loads(pickle.dumps(LeaseLostError("the lease was lost")))
    assert (error.what, error.hint) == ("the lease was lost", LeaseLostError.default_hint)


def _through(line: CutLine, profile: CloudProfile) -> CloudProfile:
    there = urlsplit(profile.storage.endpoint)
    storage = profile.storage.model_copy(update={"endpoint": f"http://127.0.0.1:{line.port}{there.path}"})
    return profile.model_copy(update={"storage": storage})


def test_renewals_that_fail_for_a_moment_lose_nothing(layers: Layers, azurite: Azurite, blob_profile: CloudProfile) -> None:
    with CutLine(urlsplit(azurite.endpoint).port or 0) as line, open_cloud(_through(line, blob_profile)) as behind:
        lease = layers.take(cloud=behind)
        assert lease is not None
        line.cut()
        mending = threading.Timer(1.0, line.mend)
        mending.start()
        lease.must_be_held()
        mending.join()
        assert layers.take("build-2") is None
        lease.release()


def test_after_its_time_a_lease_is_lost_to_the_paused_the_killed_and_the_cut_off(
    layers: Layers, azurite: Azurite, blob_profile: CloudProfile
) -> None:
    """All in one test, since each has to wait for a whole lease: 15 s is the shortest that Azure has."""
    taken, untaken, killed, cut_off = ("11" * 32, "22" * 32, "33" * 32, "44" * 32)
    with (
        HolderProcess(blob_profile, layers.container, taken, "build-1") as paused,
        HolderProcess(blob_profile, layers.container, untaken, "build-1") as paused_alone,
        HolderProcess(blob_profile, layers.container, killed, "build-1") as dead,
        CutLine(urlsplit(azurite.endpoint).port or 0) as line,
        open_cloud(_through(line, blob_profile)) as behind,
    ):
        assert paused.ask() == "held"
        isolated = layers.take(fingerprint=cut_off, cloud=behind)
        assert isolated is not None
        for process in (paused.process, paused_alone.process):
            process.send_signal(signal.SIGSTOP)
        dead.process.kill()
        line.cut()
        begun = time.monotonic()

        # Who was killed holds its lease a while, against a retry of its own build too.
        assert layers.take("build-1", fingerprint=killed) is None
        assert layers.holder(killed) == "build-1"

        time.sleep(begun + SHORTEST_LEASE_S + 2 - time.monotonic())
        assert layers.take("build-2", fingerprint=taken) is not None
        assert layers.take("build-1", fingerprint=killed) is not None
        for process in (paused.process, paused_alone.process):
            process.send_signal(signal.SIGCONT)

        assert paused.ask().startswith("LeaseLostError: the lease on layer 111111111111 was lost: ")
        assert layers.holder(taken) == "build-2"
        # Nobody took this one, and the server would renew it: the holder's own clock says no.
        assert paused_alone.ask().startswith("LeaseLostError: the lease on layer 222222222222 was lost: it ran out after 15 s")
        assert "it ran out after 15 s (could not renew" in _must_be_held_says(isolated)
        isolated.release()
