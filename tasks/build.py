"""Build: what all steps of one build share — its id, its cloud, its folder, its clock."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.context import FlowRunContext

from images.errors import CancelledError, StageError
from images.lock import ImageLock
from images.updates.feed import FeedUpdate
from infra.azure.blob_storage import BUILDS_CONTAINER, CACHE_CONTAINER, ensure_container
from infra.azure.checkpoint_name import PUBLIC
from infra.azure.private_container import open_private_container
from infra.azure.session import Cloud, open_cloud
from infra.azure.tags import BuildTags
from infra.checkout import make_folder, output_folder
from infra.guest.traffic import LinkTraffic
from infra.private_folders import mark_folder
from infra.profiles import load_profile
from tasks.progress import Timings
from tasks.vcpu_slots import VcpuSlots

LIFETIME = timedelta(hours=24)
"""How long the resources of a build may live before the reaper takes them; a build ends long before."""
PRIVATE_LIFETIME = timedelta(days=30)
"""How long images with private packages are kept, and their layers, after the last build."""


@dataclass
class SharedRun:
    """What the builds of one run share: when it stops they all do, and a layer whose stages fail is not tried once for each image."""

    root_id: UUID | None = None
    """Id of the flow run that a person started; None for a build that is a run of its own."""
    locks: dict[str, ImageLock] = field(default_factory=dict)
    """By image: locks that the run has resolved anew and that are not committed yet; others are read where they lie."""
    feed: tuple[FeedUpdate, ...] = ()
    """What the update feed says of the months that the run is about, for the release notes."""
    broken_layers: dict[str, StageError] = field(default_factory=dict)
    """By fingerprint: why this run could not build a layer."""
    builds: list[Build] = field(default_factory=list)
    stopped: bool = False

    @property
    def digits(self) -> str:
        """12 hexadecimal digits of the run's id; random ones outside a run."""
        return self.root_id.hex[:12] if self.root_id is not None else secrets.token_hex(6)

    def stop(self) -> None:
        """Let every build of the run end soon, also one that is only about to begin."""
        self.stopped = True
        for build in list(self.builds):
            build.stopping.set()


shared_run: ContextVar[SharedRun | None] = ContextVar("shared_run", default=None)


@dataclass
class Build:
    """One build in progress."""

    build_id: str
    image: str
    cloud: Cloud
    folder: Path
    """out/<build_id>: everything that the build leaves on this machine."""
    tags: BuildTags
    started: datetime
    timings: Timings = field(default_factory=Timings)
    traffic: LinkTraffic = field(default_factory=LinkTraffic)
    """Sum over the links that are closed."""
    scope: str = PUBLIC
    """Whose checkpoints and blobs it makes: public, or private-<id>."""
    private_until: datetime | None = None
    """When everything about a private build is deleted; None for a public one."""
    slots: VcpuSlots = field(default_factory=VcpuSlots)
    shared: SharedRun = field(default_factory=SharedRun)
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set once the build has failed or was stopped: its other threads must not wait for guests that are being deleted."""

    def must_go_on(self) -> None:
        """Raise CancelledError when the build is stopping: nothing new may be made in a group that is being deleted."""
        if self.stopping.is_set():
            raise CancelledError("the build is stopping", hint="the first error says why")

    @property
    def builds_container(self) -> str:
        """Where its results lie: a private build has a container of its own, which goes at its expiry."""
        return BUILDS_CONTAINER if self.scope == PUBLIC else self.scope

    @property
    def cache_container(self) -> str:
        """Where its artifacts are cached; nothing private is among the locked ones, so all builds share it."""
        return CACHE_CONTAINER

    @property
    def vhd_id(self) -> UUID:
        """The identity in C:\\vhd-id.txt: the same for every attempt of this build."""
        return uuid5(NAMESPACE_URL, f"winvhd:{self.build_id}")


def build_id_for(image: str, flow_run_id: UUID | None) -> str:
    """<image>-<12 hex digits of the root flow run's id>: a retry finds its own resources. Outside a run the digits are random."""
    digits = flow_run_id.hex[:12] if flow_run_id is not None else secrets.token_hex(6)
    return f"{image}-{digits}"


@contextmanager
def open_build(image: str, cloud_name: str, *, scope: str = PUBLIC, private_until: datetime | None = None) -> Iterator[Build]:
    """A build of this flow run on a cloud; raises ConfigurationError when the cloud or the output folder is not usable.

    `private_until` is when everything about a private build goes, by default PRIVATE_LIFETIME from now. Its VMs go as soon as anybody's.
    """
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    shared = shared_run.get() or SharedRun()
    run_id = shared.root_id or (flow_run.id if flow_run is not None else None)
    build_id = build_id_for(image, run_id)
    started = datetime.now(UTC)
    until = None if scope == PUBLIC else private_until or started + PRIVATE_LIFETIME
    with open_cloud(load_profile(cloud_name)) as cloud:
        ends = started + LIFETIME
        tags = BuildTags(build_id=build_id, flow_run_id=str(run_id or ""), expires_at=min(ends, until or ends), scope=scope)
        slots = VcpuSlots(cloud.profile if flow_run is not None else None)
        folder = make_folder(output_folder() / build_id)
        if until is not None:
            mark_folder(folder, scope, until)
        timings = Timings(image if shared.root_id is not None else "")
        build = Build(build_id, image, cloud, folder, tags, started, timings, scope=scope, private_until=until, slots=slots, shared=shared)
        shared.builds.append(build)
        if shared.stopped:
            build.stopping.set()
        yield build


def open_containers(build: Build) -> None:
    """Make the containers that a build writes to; a private one is marked with its scope and expiry. Raises CloudError."""
    ensure_container(build.cloud, build.cache_container)
    if build.private_until is None:
        ensure_container(build.cloud, build.builds_container)
    else:
        open_private_container(build.cloud, build.scope, build.private_until)
