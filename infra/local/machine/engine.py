"""ModelEngine: runs a recognised stage script against the machine model, in the words of the guest contract."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from images.stages import STAGES
from images.stages.contract import StageContract, StageInput, StageResult
from infra.local.contracts import Outside
from infra.local.guest.engine import FaultSource, Latency, ScriptContext
from infra.local.machine import cbs, model
from infra.local.machine.disk import MachineDisk
from infra.local.machine.model import Machine
from infra.local.machine.stage_run import ACCESS_DENIED_EXIT, E_ACCESSDENIED, StageFailureError, StageRun, StageStopped
from infra.local.machine.stages import STAGE_FUNCTIONS

KILLED_EXIT = 1
_ANY_STAGE = "guest.stage"
_IN_PARTS = frozenset({"update-defender"})
"""Stages that take their time part by part, and say so."""
_BY_ITEM = frozenset(
    {
        "install-capability",
        "install-update",
        "install-containerd",
        "import-container-image",
        "save-cached-file",
        "install-tool",
        "test-node-bootstrap",
    }
)
"""Stages that take time for each of their items, besides their own. The others do their work, and end when their time is over."""
_BY_SCRIPT: Mapping[str, StageContract] = MappingProxyType({stage.script.lower(): stage for stage in STAGES.values()})


class ModelEngine:
    """Satisfies infra.local.guest.engine.ScriptEngine; one serves all machines of a host, from many threads."""

    def __init__(self, outside: Outside, faults: FaultSource, latency: Latency) -> None:
        self._outside = outside
        self._faults = faults
        self._latency = latency

    def boot(self, disk: MachineDisk, *, boot_time: datetime, outbound_allowed: bool) -> Machine:
        """The machine on a disk, with everything done that waited for a restart; its services still come up."""
        if cbs.is_reboot_pending(disk):
            # Windows finishes what servicing has begun before it starts anything else.
            self._latency.wait("guest.servicing")
        machine = model.boot(disk, boot_time=boot_time, outbound_allowed=outbound_allowed)
        machine.services_stable_at = time.monotonic() + self._latency.seconds("guest.services")
        return machine

    def run(self, script: str, stage_input: dict[str, Any], ctx: ScriptContext) -> int:
        """The exit code of a script; its JSON lines go to ctx. KeyError for a script that the model does not know."""
        contract = _BY_SCRIPT[script.lower()]
        function: Callable[[StageRun, StageInput], StageResult] = STAGE_FUNCTIONS[contract.name]
        machine = ctx.machine
        if not isinstance(machine, Machine):
            raise TypeError(f"{type(machine).__name__} was not booted by this engine")
        run = StageRun(machine, ctx, self._outside, self._faults, self._latency)
        try:
            parsed = contract.input.model_validate(stage_input)
            self._refuse_network_token(contract, ctx)
            self._strike(contract, run)
            own = f"guest.{contract.name}" if self._latency.knows(f"guest.{contract.name}") else _ANY_STAGE
            began = time.monotonic()
            if contract.name in _BY_ITEM:
                run.take(own)
            try:
                result = contract.result.model_validate(function(run, parsed).model_dump())
            finally:
                if contract.name not in _BY_ITEM | _IN_PARTS:
                    run.take(own, since=began)
            run.check_stopped()
            ctx.emit_stdout(json.dumps({"event": "result", **result.model_dump(mode="json")}))
            if run.then is not None:
                run.then()
        except StageStopped:
            return KILLED_EXIT
        except ValidationError as error:
            return self._fail(ctx, "bad-input", f"{contract.script}: {error}", 1)
        except StageFailureError as error:
            return self._fail(ctx, error.code, str(error), error.exit_code)
        return 0

    def _refuse_network_token(self, contract: StageContract, ctx: ScriptContext) -> None:
        # wusa, DISM, the Windows Update agent and sysprep do not work for a token that came over the network.
        if contract.elevated and not ctx.elevated:
            raise StageFailureError(
                "access-denied", f"{contract.script}: Access is denied. (0x{E_ACCESSDENIED:08X})", exit_code=ACCESS_DENIED_EXIT
            )

    def _strike(self, contract: StageContract, run: StageRun) -> None:
        fault = self._faults.should("guest.stage", f"{contract.script} {run.context.vm_id}")
        if fault is None:
            return
        if fault.code == "disk-full":
            run.disk_full = True
        elif fault.code == "hang":
            # A native tool that never ends: the script waits for it until somebody ends both.
            run.context.emit_stderr(f"{contract.script}: waiting for a program that does not end\r\n")
            run.context.stop_event.wait()
            raise StageStopped
        else:
            raise StageFailureError(fault.code, f"{contract.script}: {fault.code}")

    def _fail(self, ctx: ScriptContext, code: str, message: str, exit_code: int) -> int:
        ctx.emit_stderr(f"{message}\r\n")
        ctx.emit_stdout(json.dumps({"event": "error", "code": code, "message": message}))
        return exit_code
