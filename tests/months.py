"""Monthly runs on the stand-in: on a pretended day, with what they started and left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.azure.session import Cloud
from infra.checkout import output_folder
from tests.flow_attempt import Attempt, operations, run


@dataclass(frozen=True)
class MonthlyRun:
    """One monthly run that has ended: its rows by image, how many VMs it made, and the files it left in out/monthly."""

    attempt: Attempt
    vms: int
    files: tuple[Path, ...]
    asked: tuple[str, ...]
    """What was asked of Microsoft's update feed, by URL."""

    @property
    def outcome(self) -> str:
        """The name of the state it ended in."""
        return str(self.attempt.state.name)

    @property
    def result(self) -> dict[str, Any]:
        """What it returned; raises what ended it."""
        found: dict[str, Any] = self.attempt.result
        return found

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Its table, by image: from the artifact, which a run that failed has as well."""
        return {row["image"]: row for row in json.loads(self.artifact("table"))}

    @property
    def report(self) -> str:
        """The report for people."""
        return self.artifact("markdown")

    @property
    def patch(self) -> str:
        """The changed locks; empty when it left none."""
        return "".join(file.read_text(encoding="utf-8") for file in self.files if file.suffix == ".patch")

    def artifact(self, kind: str) -> str:
        """The data of its only artifact of a kind."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType

        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.attempt.flow_run_id]), type=ArtifactFilterType(any_=[kind]))
        with get_client(sync_client=True) as client:
            (found,) = client.read_artifacts(artifact_filter=wanted)
        return str(found.data)


def monthly_run(cloud: Cloud, day: str, /, *images: str, as_of: str = "", **parameters: Any) -> MonthlyRun:
    """A monthly run of these definitions on a day that the stand-in pretends, at `as_of` (default: that evening)."""
    from flows.monthly_patch_build import monthly_patch_build

    pretend(cloud, day)
    before, made, asked = set(_left()), operations(cloud, "vm.create"), len(_requests(cloud))
    attempt = run(monthly_patch_build, images=list(images), as_of=as_of or f"{day}T20:00:00+00:00", **parameters)
    return MonthlyRun(attempt, operations(cloud, "vm.create") - made, tuple(sorted(set(_left()) - before)), _requests(cloud)[asked:])


def pretend(cloud: Cloud, day: str | None) -> None:
    """Let the stand-in be on a day; on none, everything that it knows has been released."""
    httpx.put(f"{cloud.profile.arm_endpoint}/_standin/date", json={"date": day}, timeout=60).raise_for_status()


@contextmanager
def another_day(cloud: Cloud) -> Iterator[None]:
    """Whatever day the block pretends, it is over at its end."""
    try:
        yield
    finally:
        pretend(cloud, None)


def feed_file(cloud: Cloud, day: str, path: Path) -> str:
    """All that the stand-in's Microsoft has released by a day as a feed file: previews, URLs and hashes included."""
    pretend(cloud, day)
    path.write_text(httpx.get(f"{cloud.profile.outside_gateway}/.feed", timeout=30).raise_for_status().text, encoding="utf-8")
    return str(path)


def _requests(cloud: Cloud) -> tuple[str, ...]:
    log = httpx.get(f"{cloud.profile.outside_gateway}/.requests", timeout=30).raise_for_status().text
    urls = [str(json.loads(line)["url"]) for line in log.splitlines()]
    return tuple(url for url in urls if url.startswith("https://api.msrc.microsoft.com/"))


def _left() -> Iterator[Path]:
    yield from (output_folder() / "monthly").glob("*")
