"""The image that an earlier build made by the same plan: when it is still there, there is nothing to build."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed

from images.plan import BuildPlan
from images.planning.plan_digest import plan_digest
from infra.azure.built_images import BuiltImages, BuiltRecord
from infra.azure.disk_capture import CapturedVhd
from tasks.build import Build
from tasks.progress import run_logger
from tasks.show_vhd import show_vhd
from tasks.step_task import step_task


def find_earlier(build: Build, plan: BuildPlan) -> BuiltRecord | None:
    """The finished image of exactly this plan, its VHD untouched since; None when there is none. Raises CloudError."""
    with build.timings.step("look for an earlier build of this plan") as step:
        found = BuiltImages(build.cloud, container=build.builds_container).find(build.image, plan_digest(plan))
        if found is not None:
            step.outcome = "reused"
            _reuse(found.image_version, found.build_id)
            show_vhd(build.image, found.image_version, found.captured)
        return found


@step_task("reuse-image", "Image {version}")
def _reuse(version: str, build_id: str) -> State[str]:
    """Ends as *Cached*, as a reused result does in Prefect's UI."""
    run_logger().info("nothing changed since %s, built by %s", version, build_id)
    return Completed(name="Cached", message=f"nothing changed since {version}", data=version)


def earlier_result(build: Build, record: BuiltRecord) -> dict[str, Any]:
    """The result of the earlier build, marked as unchanged, with this run's seconds."""
    seconds = round((datetime.now(UTC) - build.started).total_seconds(), 1)
    return {**record.summary, "unchanged": True, "built_at": record.built_at.isoformat(), "seconds": seconds, "copied_to": None}


def record_image(build: Build, plan: BuildPlan, captured: CapturedVhd, summary: dict[str, Any]) -> None:
    """Let later builds of the same plan find this image. Raises CloudError."""
    images = BuiltImages(build.cloud, container=build.builds_container)
    images.record(
        BuiltRecord(
            image=build.image,
            plan_digest=plan_digest(plan),
            build_id=build.build_id,
            image_version=summary["image_version"],
            built_at=datetime.now(UTC),
            container=captured.container,
            blob_name=captured.blob_name,
            url=captured.url,
            sha256=captured.sha256,
            size_bytes=captured.size_bytes,
            data_bytes=captured.data_bytes,
            etag=images.etag(captured),
            summary=summary,
        )
    )
