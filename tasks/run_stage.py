"""One stage in the guest: tokens become addresses, the script runs, its progress goes to the run's log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import JsonValue

from images.errors import StageError
from images.plan import PlannedStage
from images.stages.content import SaveFileInput
from images.stages.contract import StageContract, StageInput, StageResult
from images.stages.fix import FIX_STAGES, HINTS
from images.stages.system import RESTART_GUEST, GuestStateResult
from infra.fetch.http import content_length, make_client
from infra.guest.link import GuestLink
from infra.prefect.private_fix_source import private_fix_url
from infra.prefect.secret_blocks import secret_block
from infra.redaction import secret_parts
from tasks.build import Build
from tasks.deliver_files import UNREACHABLE, deliver_files
from tasks.progress import run_logger
from tasks.step_task import step_task
from tasks.supply import ArtifactSupply

Result = TypeVar("Result", bound=StageResult)

MAX_RESTARTS = 3
"""As many in a row for one stage: an update may need two."""


def stage_run_id(build: Build, contract: StageContract, attempt: str, stage_input: JsonValue) -> str:
    """Name of one stage run: the same for every attempt of this build with this input, so that nothing is started twice."""
    digest = hashlib.sha256(json.dumps([attempt, stage_input], sort_keys=True).encode()).hexdigest()
    return f"{build.build_id[-12:]}-{contract.name}-{digest[:8]}"


@step_task("run-stage", "{title}")
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
    """Run one stage of a plan; `values` are the fields that only the run knows. The restart that the plan may ask for is the caller's.

    Raises StageError, GuestLinkError, and what the fetch of a file that it needs raised.
    """

    def url_of(token: str) -> str:
        kind, _, name = token.partition(":")
        if kind == "cache":
            return supply.address(name)
        if kind == "fix":
            url = private_fix_url(name).get_secret_value()
            for text in secret_parts(url):
                link.keep_secret(text)
            return url
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
        if contract in FIX_STAGES:
            error.hint = HINTS.get(error.code, error.hint)
        if error.code not in UNREACHABLE or not isinstance(stage_input, SaveFileInput):
            raise
        deliver_files(build, link, stage_input, error, layer=layer)
        result = _run(build, link, contract, stage_input, title, layer, run_id)
    return result


def check_promised_build(planned: PlannedStage, state: GuestStateResult) -> None:
    """Raise StageError when Windows, after the restart that a stage asked for, is not at the build that its updates promise."""
    promised = planned.input.get("promised_build")
    if promised is not None and state.os_build != promised:
        raise StageError(
            f"Windows is at {state.os_build} after the restart, the update promises {promised}",
            stage=planned.contract.name,
            code="build-not-reached",
            hint="the update was rolled back: C:\\Windows\\Logs\\CBS\\CBS.log on the VM says why",
        )


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


@step_task("restart-guest", "Restart")
def restart_guest(build: Build, link: GuestLink, *, layer: str = "") -> GuestStateResult:
    """Restart the guest, as often as its updates ask for, and wait until the new boot answers and has settled.

    Raises GuestLinkError when it never does, and StageError when Windows still waits for a restart after MAX_RESTARTS.
    """
    with build.timings.step("Restart", layer=layer) as step:

        def restart() -> GuestStateResult:
            state = link.restart()
            step.progress(f"booted at {state.boot_time}, Windows {state.os_build}")
            return state

        return restart_until_settled(restart)


def restart_until_settled(restart: Callable[[], GuestStateResult]) -> GuestStateResult:
    """The state after as many restarts as Windows asks for: some updates need a second one. StageError after MAX_RESTARTS."""
    for _ in range(MAX_RESTARTS):
        state = restart()
        if not state.pending_reboot:
            return state
    raise StageError(
        f"Windows waits for a restart after {MAX_RESTARTS} of them",
        stage=RESTART_GUEST.name,
        code="restart-pending",
        hint="an update does not get done: C:\\Windows\\Logs\\CBS\\CBS.log on the VM says why",
    )
