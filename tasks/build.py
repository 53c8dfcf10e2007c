"""Build: what all steps of one build share — its id, its cloud, its folder, its clock."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.context import FlowRunContext

from images.errors import CancelledError
from infra.azure.session import Cloud, open_cloud
from infra.azure.tags import BuildTags
from infra.checkout import make_folder, output_folder
from infra.guest.traffic import LinkTraffic
from infra.profiles import load_profile
from tasks.progress import Timings

LIFETIME = timedelta(hours=24)
"""How long the resources of a build may live before the reaper takes them; a build ends long before."""


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
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set once the build has failed or was stopped: its other threads must not wait for guests that are being deleted."""

    def must_go_on(self) -> None:
        """Raise CancelledError when the build is stopping: nothing new may be made in a group that is being deleted."""
        if self.stopping.is_set():
            raise CancelledError("the build is stopping", hint="the first error says why")

    @property
    def vhd_id(self) -> UUID:
        """The identity in C:\\vhd-id.txt: the same for every attempt of this build."""
        return uuid5(NAMESPACE_URL, f"winvhd:{self.build_id}")


def build_id_for(image: str, flow_run_id: UUID | None) -> str:
    """<image>-<12 hex digits of the flow run's id>: a retry of the run finds its own resources. Outside a run the digits are random."""
    digits = flow_run_id.hex[:12] if flow_run_id is not None else secrets.token_hex(6)
    return f"{image}-{digits}"


@contextmanager
def open_build(image: str, cloud_name: str) -> Iterator[Build]:
    """A build of this flow run on a cloud; raises ConfigurationError when the cloud or the output folder is not usable."""
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    build_id = build_id_for(image, flow_run.id if flow_run is not None else None)
    started = datetime.now(UTC)
    with open_cloud(load_profile(cloud_name)) as cloud:
        tags = BuildTags(build_id=build_id, flow_run_id=str(flow_run.id) if flow_run is not None else "", expires_at=started + LIFETIME)
        yield Build(build_id, image, cloud, make_folder(output_folder() / build_id), tags, started)
