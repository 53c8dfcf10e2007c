"""One stage in the guest: tokens become addresses, the script runs, its progress goes to the run's log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue, SecretStr

from images.errors import ConfigurationError
from images.plan import PlannedStage
from images.stages import STAGES
from images.stages.contract import StageContract, StageInput, StageResult
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.progress import run_logger
from tasks.supply import ArtifactSupply

Result = TypeVar("Result", bound=StageResult)


def secret_block(name: str) -> SecretStr:
    """The content of a Prefect Secret block; raises ConfigurationError when there is none of that name."""
    from prefect.blocks.system import Secret

    try:
        return SecretStr(str(Secret.load(name).get()))
    except ValueError as error:
        raise ConfigurationError(
            f"there is no Secret block called {name}", hint=f"make it in the Prefect UI, or: prefect block create secret --name {name}"
        ) from error


def stage_run_id(build: Build, contract: StageContract, stage_input: JsonValue) -> str:
    """Name of one stage run: the same for every attempt of this build with this input, so that nothing is started twice."""
    digest = hashlib.sha256(json.dumps(stage_input, sort_keys=True).encode()).hexdigest()
    return f"{build.build_id[-12:]}-{contract.name}-{digest[:8]}"[:80]


@task(name="run-stage", task_run_name="{contract.title}", cache_policy=NO_CACHE, persist_result=False)
def run_stage(
    build: Build,
    link: GuestLink,
    contract: StageContract,
    stage_input: dict[str, Any],
    *,
    layer: str = "",
    supply: ArtifactSupply | None = None,
    attempt: str = "",
) -> StageResult:
    """Run one stage and return its result; raises StageError, GuestLinkError, and ArtifactError when a file it needs can not be had.

    stage_input is the planned input, tokens included; `attempt` tells repeated runs of the same stage and input apart.
    """
    with build.timings.step(contract.title or contract.name, layer=layer) as step:
        resolved = supply.resolve(stage_input, secret_block) if supply is not None else stage_input
        typed = contract.input.model_validate(resolved)
        run_id = stage_run_id(build, contract, {"input": stage_input, "attempt": attempt})
        result = link.run_stage(contract, typed, run_id=run_id, on_progress=lambda event: step.progress(event.message, event.done, event.total))
        run_logger().info("%s: %s", contract.name, "changed" if result.changed else "already as asked for")
        return result


def run_typed(
    build: Build, link: GuestLink, contract: StageContract, stage_input: StageInput, result: type[Result], *, layer: str = "", attempt: str = ""
) -> Result:
    """Like run_stage, for an input that is complete, with the result as its own type."""
    answer = run_stage(build, link, contract, stage_input.model_dump(mode="json"), layer=layer, attempt=attempt)
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
    at_run_time: Callable[[str], JsonValue],
) -> StageResult:
    """Run one stage of a plan, its run-time fields filled in, and restart the guest when the plan says so."""
    contract = STAGES[planned.stage]
    stage_input = dict(planned.input) | {field: at_run_time(field) for field in planned.input_at_run_time}
    result = cast(StageResult, run_stage(build, link, contract, stage_input, layer=layer, supply=supply, attempt=f"{layer}-{number}"))
    if planned.restart_after:
        restart_guest(build, link, layer=layer)
    return result


@task(name="restart-guest", task_run_name="Restart", cache_policy=NO_CACHE, persist_result=False)
def restart_guest(build: Build, link: GuestLink, *, layer: str = "") -> None:
    """Restart the guest and wait until a new boot answers and has settled; raises GuestLinkError when it never does."""
    with build.timings.step("Restart", layer=layer) as step:
        link.restart(on_progress=lambda message: step.progress(message))
