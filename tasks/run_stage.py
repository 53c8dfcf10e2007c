"""One stage in the guest: tokens become addresses, the script runs, its progress goes to the run's log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue

from images.errors import StageError
from images.plan import PlannedStage
from images.stages.content import SaveFileInput
from images.stages.contract import StageContract, StageInput, StageResult
from images.stages.system import GuestStateResult
from infra.fetch.http import content_length, make_client
from infra.guest.link import GuestLink
from infra.prefect.secret_blocks import secret_block
from tasks.build import Build
from tasks.deliver_files import UNREACHABLE, deliver_files
from tasks.progress import run_logger
from tasks.supply import ArtifactSupply

Result = TypeVar("Result", bound=StageResult)


def stage_run_id(build: Build, contract: StageContract, attempt: str, stage_input: JsonValue) -> str:
    """Name of one stage run: the same for every attempt of this build with this input, so that nothing is started twice."""
    digest = hashlib.sha256(json.dumps([attempt, stage_input], sort_keys=True).encode()).hexdigest()
    return f"{build.build_id[-12:]}-{contract.name}-{digest[:8]}"


@task(name="run-stage", task_run_name="{title}", cache_policy=NO_CACHE, persist_result=False)
def _run(
    build: Build, link: GuestLink, contract: StageContract, stage_input: StageInput, title: str, layer: str, run_id: str
) -> StageResult:
    with build.timings.step(title, layer=layer) as step:
        result = link.run_stage(
            contract, stage_input, run_id=run_id, on_progress=lambda event: step.progress(event.message, event.done, event.total)
        )
        run_logger().info("%s: %s", contract.name, "changed" if result.changed else "already as asked for")
        return result


def run_stage(
    build: Build,
    link: GuestLink,
    contract: StageContract,
    stage_input: StageInput,
    result: type[Result],
    *,
    layer: str = "",
    attempt: str = "",
) -> Result:
    """Run one stage and return its typed result; `attempt` tells repeated runs of the same stage and input apart.

    Raises StageError and GuestLinkError.
    """
    run_id = stage_run_id(build, contract, attempt, stage_input.model_dump(mode="json"))
    title = f"{contract.title or contract.name} ({attempt})" if attempt else contract.title or contract.name
    answer = _run(build, link, contract, stage_input, title, layer, run_id)
    if not isinstance(answer, result):
        raise TypeError(f"{contract.name} answered {type(answer).__name__}")
    return answer


def run_planned(
    build: Build,
    link: GuestLink,
    planned: PlannedStage,
    *,
    layer: str,
    number: int,
    supply: ArtifactSupply,
    values: Mapping[str, JsonValue] | None = None,
) -> StageResult:
    """Run one stage of a plan and restart the guest when the plan says so; `values` are the fields that only the run knows.

    Raises StageError, GuestLinkError, and what the fetch of a file that it needs raised.
    """

    def url_of(token: str) -> str:
        kind, _, name = token.partition(":")
        if kind == "cache":
            return supply.address(name)
        url = secret_block(name).get_secret_value()
        # All of it is secret, not only what a reader of URLs would take for a token.
        for text in (url, url.partition("?")[0]):
            link.keep_secret(text)
        return url

    contract = planned.contract
    given = dict(values or {}) | _private_sizes(planned)
    # The planned input, not the one with tokens, names the run: a new SAS does not make it another stage run.
    run_id = stage_run_id(build, contract, f"{layer}-{number}", planned.input)
    stage_input, title = planned.complete(given, url_of), contract.title or contract.name
    try:
        result = _run(build, link, contract, stage_input, title, layer, run_id)
    except StageError as error:
        if error.code not in UNREACHABLE or not isinstance(stage_input, SaveFileInput):
            raise
        deliver_files(build, link, stage_input, error, layer=layer)
        result = _run(build, link, contract, stage_input, title, layer, run_id)
    if planned.restart_after:
        state = restart_guest(build, link, layer=layer)
        promised = planned.input.get("promised_build")
        if promised is not None and state.os_build != promised:
            raise StageError(
                f"Windows is at {state.os_build} after the restart, the update promises {promised}",
                stage=contract.name,
                code="build-not-reached",
                hint="the update was rolled back: C:\\Windows\\Logs\\CBS\\CBS.log on the VM says why",
            )
    return result


def _private_sizes(planned: PlannedStage) -> dict[str, JsonValue]:
    """Sizes in bytes of files behind secret URLs, asked for with HEAD; raises ArtifactError when the server does not tell."""
    wanted = [path for path in planned.input_at_run_time if path.startswith("files.") and path.endswith(".size_bytes")]
    if not wanted:
        return {}
    files = planned.input["files"]
    sizes: dict[str, JsonValue] = {}
    with make_client() as client:
        for path in wanted:
            file = files[int(path.split(".")[1])] if isinstance(files, list) else None
            if isinstance(file, dict):
                url = secret_block(str(file["url"]).partition(":")[2]).get_secret_value()
                sizes[path] = content_length(client, url, shown=str(file["path"]))
    return sizes


@task(name="restart-guest", task_run_name="Restart", cache_policy=NO_CACHE, persist_result=False)
def restart_guest(build: Build, link: GuestLink, *, layer: str = "") -> GuestStateResult:
    """Restart the guest and wait until a new boot answers and has settled; raises GuestLinkError when it never does."""
    with build.timings.step("Restart", layer=layer) as step:
        state = link.restart()
        step.progress(f"booted at {state.boot_time}, Windows {state.os_build}")
        return state
