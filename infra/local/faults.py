"""Bad luck on request: which fault strikes where, how often, reproducible by seed.

Every part of the stand-in asks `Faults.should(point, key)` at the places where the real world fails. The names of the places:

    point             key                                asked
    arm.request       "<METHOD> <path>"                  before any ARM request is handled; codes are HTTP answers (429, 409, 5xx)
    arm.vm.allocate   VM size                            when a VM is created, started from deallocated, or resized
    arm.operation     "<operation> <resource id>"        when a long-running operation is about to finish; it fails with the code
    guest.boot        VM id                              when a VM boots: never-back leaves it running but deaf
    guest.winrm       VM id                              for each WS-Man request: it is dropped without an answer
    guest.winrm-drop  VM id                              for each Receive: the connection breaks while a process runs
    guest.stage       "<script> <VM id>"                 when a stage script starts: disk-full, hang, or any code as the script's own error
    guest.reboot-mid-stage  "<script> <VM id>"           when a script starts: the machine restarts under it
    guest.update      "<KB> <VM id>"                     when an update is installed: hang, two-restarts, rolled-back, or an HRESULT
    guest.sysprep     VM id                              when sysprep starts: stuck; or what it undoes: testsigning-lost, file-reverted
    origin.fetch      URL                                for each request to the outside: corrupt, truncated, slow, unreachable, 5xx
"""

from __future__ import annotations

import fnmatch
import json
import random
import threading
from pathlib import Path

from pydantic import Field, ValidationError

from images.errors import ConfigurationError
from images.frozen import Frozen


class Fault(Frozen):
    """One stroke of bad luck; `code` says what happens, in the words of the place that was asked."""

    code: str = Field(description="For example TooManyRequests, AllocationFailed, dropped, corrupt, disk-full, stuck.")
    message: str = ""
    status: int = Field(default=500, ge=400, le=599, description="HTTP status, where the place speaks HTTP.")
    retry_after_s: int | None = Field(default=None, ge=0, description="Seconds for a Retry-After header.")


class FaultRule(Frozen):
    """Strikes where point and key match (shell patterns, any case), after `skip` matches, at most `times` times (null: always)."""

    point: str
    key: str = "*"
    fault: Fault
    skip: int = Field(default=0, ge=0)
    times: int | None = Field(default=1, ge=1)
    probability: float = Field(default=1.0, gt=0, le=1)


class FaultPlan(Frozen):
    """What goes wrong: a named profile, own rules, or both; own rules are asked first."""

    profile: str | None = Field(default=None, description="One of PROFILES.")
    seed: int = 0
    rules: tuple[FaultRule, ...] = ()

    def all_rules(self) -> tuple[FaultRule, ...]:
        """Own rules and then the profile's; raises ConfigurationError for a profile that does not exist."""
        if self.profile is None:
            return self.rules
        if self.profile not in PROFILES:
            raise ConfigurationError(f'unknown fault profile "{self.profile}"', hint=f"choose one of {', '.join(sorted(PROFILES))}")
        return self.rules + PROFILES[self.profile]


def _always(point: str, key: str, code: str, status: int = 500) -> FaultRule:
    return FaultRule(point=point, key=key, fault=Fault(code=code, status=status), times=None)


_THROTTLED = Fault(code="TooManyRequests", status=429, retry_after_s=1, message="The request is being throttled.")
_BUSY = Fault(code="Conflict", status=409, message="Another operation is in progress on the resource.")
_SERVER = Fault(code="InternalServerError", status=500, message="An internal error occurred.")
_UNAVAILABLE = Fault(code="ServiceUnavailable", status=503, retry_after_s=1, message="The service is unavailable.")

PROFILES: dict[str, tuple[FaultRule, ...]] = {
    "throttled": (FaultRule(point="arm.request", fault=_THROTTLED, times=None, probability=0.1),),
    "flaky-cloud": (
        FaultRule(point="arm.request", fault=_UNAVAILABLE, times=None, probability=0.04),
        FaultRule(point="arm.request", key="GET *", fault=_SERVER, times=None, probability=0.04),
        FaultRule(point="arm.request", fault=_THROTTLED, times=None, probability=0.04),
    ),
    "conflicts": (FaultRule(point="arm.request", key="PUT *", fault=_BUSY, times=3, probability=0.3),),
    "no-capacity": (_always("arm.vm.allocate", "*", "AllocationFailed", 409),),
    "first-size-full": (FaultRule(point="arm.vm.allocate", fault=Fault(code="AllocationFailed", status=409)),),
    "never-back": (FaultRule(point="guest.boot", skip=1, fault=Fault(code="never-back"), times=None),),
    "winrm-drops": (FaultRule(point="guest.winrm", fault=Fault(code="dropped"), times=None, probability=0.05),),
    "corrupt-downloads": (FaultRule(point="origin.fetch", fault=Fault(code="corrupt"), times=None, probability=0.2),),
    "always-corrupt": (_always("origin.fetch", "*", "corrupt"),),
    "unreachable-url": (_always("origin.fetch", "*", "unreachable"),),
    "sysprep-stuck": (_always("guest.sysprep", "*", "stuck"),),
    "disk-full": (_always("guest.stage", "*", "disk-full"),),
}


class Faults:
    """The plan in force, with counters; safe to ask from any thread."""

    def __init__(self, plan: FaultPlan | None = None) -> None:
        self._lock = threading.Lock()
        self.replace(plan or FaultPlan())

    def replace(self, plan: FaultPlan) -> None:
        """Put another plan in force and start its counters from zero; raises ConfigurationError for an unknown profile."""
        rules = plan.all_rules()
        with self._lock:
            self._plan = plan
            self._rules = rules
            self._matched = [0] * len(rules)
            self._struck = [0] * len(rules)
            # Rules draw from separate streams, so that one more rule does not change what the others do.
            self._random = [random.Random(f"{plan.seed}:{index}") for index in range(len(rules))]  # noqa: S311 - reproducible on purpose

    @property
    def plan(self) -> FaultPlan:
        """The plan in force."""
        return self._plan

    def should(self, point: str, key: str) -> Fault | None:
        """The fault that strikes here and now, or None; each call that matches a rule counts."""
        with self._lock:
            for index, rule in enumerate(self._rules):
                if not (_matches(point, rule.point) and _matches(key, rule.key)):
                    continue
                self._matched[index] += 1
                if self._matched[index] <= rule.skip or (rule.times is not None and self._struck[index] >= rule.times):
                    continue
                if self._random[index].random() < rule.probability:
                    self._struck[index] += 1
                    return rule.fault
        return None

    def counters(self) -> list[dict[str, object]]:
        """For each rule in force: point, key, code, how often it matched and how often it struck."""
        with self._lock:
            return [
                {"point": rule.point, "key": rule.key, "code": rule.fault.code, "matched": matched, "struck": struck}
                for rule, matched, struck in zip(self._rules, self._matched, self._struck, strict=True)
            ]


def load_plan(path: Path) -> FaultPlan:
    """The plan in a JSON file; raises ConfigurationError when it is missing or wrong."""
    try:
        plan = FaultPlan.model_validate_json(path.read_bytes())
        plan.all_rules()
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"the fault plan can not be used: {error}", where=str(path)) from error
    return plan


def _matches(text: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(text.lower(), pattern.lower())
