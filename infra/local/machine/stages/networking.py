"""Pod networking on a booted machine: what Test-PodNetworking.ps1 finds, given the services and the driver that the disk holds."""

from __future__ import annotations

import time

from images.stages.boot import NetworkingCheck, NetworkingInput, NetworkingResult
from infra.local.machine import services
from infra.local.machine.boot_options import is_test_signing
from infra.local.machine.stage_run import StageRun
from infra.local.origin.windows_components import COMPONENT, Component, read_component

CHECKS = (
    "the host network service runs",
    "a network is made",
    "its gateway has an address",
    "an endpoint is made",
    "the endpoint has an address",
    "names resolve",
)
"""The checks of the script, in its order."""


def test_pod_networking(run: StageRun, wanted: NetworkingInput) -> NetworkingResult:
    """Every check with its outcome; after a failed one the others are not reached."""
    prefix = wanted.subnet.removesuffix("0/24")
    file = run.disk.path(COMPONENT)
    component = read_component(file.read_bytes()) if file.is_file() else None
    checks: list[NetworkingCheck] = []
    failed = ""
    for number, name in enumerate(CHECKS, 1):
        run.check_stopped()
        started = time.monotonic()
        error = f"not reached: {failed} failed" if failed else _problem(run, name, component, prefix)
        failed = failed or (name if error else "")
        checks.append(NetworkingCheck(name=name, passed=not error, seconds=round(time.monotonic() - started, 3), error=error))
        run.progress(name, number, len(CHECKS))
    return NetworkingResult(changed=False, checks=tuple(checks))


def _problem(run: StageRun, name: str, component: Component | None, prefix: str) -> str:
    if name == CHECKS[0] and services.service_start(run.disk, "hns") is None:
        return "Cannot find any service with service name 'hns'."
    if name == CHECKS[1]:
        # The switch of a network loads the filtering platform's driver; what is signed for tests only loads with test signing.
        if component is None:
            return "the host network service refused /networks: The system cannot find the file specified."
        if component.signer == "test" and not is_test_signing(run.disk):
            return "the host network service refused /networks: Windows cannot verify the digital signature for this file."
    if component is not None and name in component.broken:
        return {
            "its gateway has an address": f"{prefix}1 did not come up within 30 s",
            "the endpoint has an address": f"{prefix}10 did not come up within 30 s",
        }.get(name, f"{name}: The parameter is incorrect.")
    return ""
