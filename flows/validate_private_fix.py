"""Validates a private Windows fix: the same image with and without it, the same suites on both, one verdict; nobody else can see it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed
from pydantic import Field, StringConstraints

from flows.choices import CloudName, ImageChoice, private_fix_run_name
from images.definition import E2ESuite, RegistrySetting, Sha256
from images.loading import find_definition, load_definition
from images.privacy import private_scope
from images.private_fix import BlockName, FixKind, PrivateFix, checked_fix
from images.verdict import judge_fix, verdict_table, verdict_text
from infra.azure.private_container import open_private_container
from infra.azure.session import open_cloud
from infra.prefect.private_fix_source import private_fix_url
from infra.profiles import load_profile
from tasks.build import SharedRun, shared_run
from tasks.private_side import Side, SideResult, build_side
from tasks.release_resources import release_resources
from tasks.resolve_lock import resolve_lock

DEFAULT_SUITES = (E2ESuite.FIRST_BOOT, E2ESuite.NETWORKING, E2ESuite.NODE_BOOTSTRAP)


@flow(
    name="validate-private-fix",
    flow_run_name=private_fix_run_name,
    description="Builds an image with and without a private Windows fix, runs the same tests on both, and says what the fix does.",
    on_cancellation=[release_resources],
    on_crashed=[release_resources],
)
def validate_private_fix(
    image: ImageChoice,
    source: BlockName,
    sha256: Sha256,
    kind: FixKind,
    arguments: Sequence[str] = (),
    registry: Sequence[RegistrySetting] = (),
    suites: Sequence[E2ESuite] = DEFAULT_SUITES,
    ttl_days: Annotated[int, Field(ge=1, le=30)] = 7,
    note: Annotated[str, StringConstraints(max_length=500)] = "",  # noqa: ARG001 - kept by Prefect with the run, for whoever started it
    cloud: CloudName = "local",
) -> State[dict[str, Any]]:
    """Say whether a private fix cures what fails without it, and whether it breaks anything.

    Nothing that tells about the fix is shown here: its name, versions and logs lie in a storage container of this run's own, which is
    deleted when its days are over, or now with: winvhd private purge.

    Args:
        image: The image to patch (images/definitions). Its layers are used where they exist.
        source: Name of the block of type Private fix source (Blocks) that holds the read-only URL of the fix. No other secret can be
            named here, and the URL itself must not be.
        sha256: SHA-256 of the fix, 64 hexadecimal digits. The first 12 are what the fix is called by everywhere.
        kind: What the fix is delivered as. Windows installs msu and cab; exe is run with the arguments below; zip holds test-signed files
            whose paths mirror C:, which replace Windows' own.
        arguments: Arguments of an exe, one item each. It must run without a question, so most need /quiet. Empty for other kinds.
        registry: Registry values that switch the fix on, below HKLM:\\SOFTWARE or HKLM:\\SYSTEM. Only the patched image gets them.
        suites: The tests to run on both images. A fix can only be told by a test that fails without it.
        ttl_days: Days after which everything about this run is deleted, 1 to 30.
        note: What you want to remember. It is stored with the run for all to read, so name nothing private.
        cloud: Where to build. local is the stand-in cloud on the worker's machine, azure your subscription.
    """
    fix = checked_fix(sha256=sha256, kind=kind, block=source, arguments=tuple(arguments), registry=tuple(registry))
    # A block that is missing, of another type, or whose SAS has expired should not have to wait for a VM.
    private_fix_url(source)
    file = find_definition(image)
    definition = load_definition(file)
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    shared = SharedRun(root_id=run.id if run is not None else None)
    scope = private_scope(shared.digits)
    expires_at = datetime.now(UTC) + timedelta(days=ttl_days)
    with open_cloud(load_profile(cloud)) as session:
        open_private_container(session, scope, expires_at)
        lock = resolve_lock(definition, file, session)
    wanted = tuple(suites) or DEFAULT_SUITES
    sides = [Side(name, cloud, definition, lock, one, scope, expires_at, wanted, source) for name, one in _sides(fix)]
    baseline, patched = _both(shared, sides)
    verdict = judge_fix(baseline.cases, patched.cases, already_present=patched.already_present, test_signed=fix.test_signing)
    text, checks = verdict_text(verdict, fix), verdict_table(verdict)
    title = f"{str(fix).capitalize()}: {verdict.outcome}"
    create_table_artifact(checks, key=f"fix-{fix.digits}-checks", description=title)
    create_markdown_artifact(text, key=f"fix-{fix.digits}-verdict", description=title)
    result = {
        "fix": str(fix),
        "verdict": verdict.outcome.value,
        "reasons": list(verdict.reasons),
        "in_effect": verdict.in_effect,
        "counts": {change.value: count for change, count in verdict.counts.items()},
        "checks": checks,
        "sides": {side.name: side.summary() for side in (baseline, patched)},
        "container": scope,
        "expires_at": expires_at.isoformat(timespec="seconds"),
    }
    return Completed(name=verdict.outcome.value.capitalize(), message=verdict.reasons[0], data=result)


def _sides(fix: PrivateFix) -> list[tuple[str, PrivateFix | None]]:
    return [("baseline", None), ("patched", fix)]


def _both(shared: SharedRun, sides: list[Side]) -> list[SideResult]:
    """Both images at the same time; the failure of one stops the other, since one alone says nothing."""
    token = shared_run.set(shared)
    try:
        with ThreadPoolExecutor(len(sides), thread_name_prefix="side") as pool:
            running = [pool.submit(copy_context().run, build_side, side) for side in sides]
            try:
                ended, _ = wait(running, return_when=FIRST_EXCEPTION)
                # The one that failed first says why; the other is then stopped, and says only that.
                for future in ended:
                    future.result()
                return [future.result() for future in running]
            except BaseException:
                shared.stop()
                raise
    finally:
        shared_run.reset(token)
