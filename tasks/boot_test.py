"""The boot test: the captured VHD becomes a fresh VM, which must start cleanly and bootstrap a node from its caches alone."""

from __future__ import annotations

import json
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context

import httpx

from images.agreement import compare_with_promise
from images.bootstrap import CACHE_ROOT, bootstrap_versions
from images.definition import E2ESuite, ImageDefinition
from images.e2e import E2ECase, E2EReport, render_junit
from images.errors import BootTestError, CloudError
from images.lock import ImageLock
from images.plan import BuildPlan
from images.stages.boot import (
    SET_OUTBOUND,
    TEST_FIRST_BOOT,
    TEST_NETWORKING,
    TEST_NODE_BOOTSTRAP,
    BootstrapInput,
    BootstrapResult,
    FirstBootResult,
    NetworkingInput,
    NetworkingResult,
    OutboundInput,
)
from images.stages.contract import NoInput, StageResult
from images.stages.finish import GET_INVENTORY, InventoryResult
from images.steps.finish import inventory_input
from images.verdict import suites_to_repeat
from infra.azure.build_vm import delete_vm, provision
from infra.azure.managed_image import make_image
from infra.azure.vm_network import refuse_outbound
from infra.azure.vm_request import BuildVm, ManagedImage, MarketplaceImage
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.contact_guest import another_link, contacted
from tasks.progress import run_logger
from tasks.prove_fix import prove_fix
from tasks.provision_vm import vm_request
from tasks.run_stage import run_stage
from tasks.step_task import step_task

WORK_FOLDER = r"C:\winvhd-bootstrap"
MAX_RUNS = 5
"""As often a suite is run at most to settle what failed in it."""
TEST_SUBNET = "10.244.250.0/24"
"""In no network of the build: its VMs are in infra.azure.vm_network.ADDRESS_RANGE."""


@step_task("boot-test", "Boot test")
def boot_test(
    build: Build, definition: ImageDefinition, lock: ImageLock, plan: BuildPlan, vhd_url: str, *, settle: bool = False
) -> list[E2ECase]:
    """Boot the captured VHD and run the plan's suites on it; raises CloudError and GuestLinkError when it does not even boot.

    With `settle`, suites that failed run again, to tell flakes from failures; the cases of all runs are given.
    """
    build.must_go_on()
    with build.timings.step("boot test VM") as step:
        build.slots.take("test", step.progress, build.must_go_on)
        build.must_go_on()

        def bootable(group: str) -> ManagedImage:
            return ManagedImage(
                make_image(build.cloud, group, "boot-test", vhd_url, generation=plan.base.generation.value, tags=build.tags)
            )

        vm = provision(build.cloud, vm_request(build, plan, bootable, role="test"), build.tags, step.progress)
        build.slots.settle("test", vm.size, step.progress)
    with contacted(build, vm) as link:
        image = (definition, lock, plan)
        cases = run_suites(build, vm, link, image, plan.e2e_suites)
        for attempt in range(2, MAX_RUNS + 1):
            again = suites_to_repeat(cases) if settle else ()
            if not again:
                break
            cases += run_suites(build, vm, link, image, [E2ESuite(suite) for suite in again], attempt=attempt)
        return cases + prove_fix(build, link, definition, plan.fix)


def run_suites(
    build: Build,
    vm: BuildVm,
    link: GuestLink,
    image: tuple[ImageDefinition, ImageLock, BuildPlan],
    suites: Collection[E2ESuite],
    *,
    attempt: int = 1,
) -> list[E2ECase]:
    """The cases of those of the suites that run on the image itself; `attempt` counts up when they are run again on the same VM.

    Raises StageError and GuestLinkError when a suite's own script fails. The node bootstrap cuts the VM off from the Internet, for good;
    the inventory of the first boot, which looks at other folders, is taken beside it, or before the networking suite when that runs.
    """
    definition, lock, _ = image
    again = "" if attempt == 1 else f", attempt {attempt}"
    first: list[E2ECase] = []
    cases: list[E2ECase] = []
    with another_link(build, link) as other, ThreadPoolExecutor(1, thread_name_prefix="inventory") as pool:
        looking: Future[list[E2ECase]] | None = None
        if E2ESuite.FIRST_BOOT in suites:
            first = _first_boot(build, link, again)
            looking = pool.submit(copy_context().run, _promised_inventory, build, other, image, again)
        if E2ESuite.NETWORKING in suites:
            if looking is not None:
                # The pods of this suite are not part of the image.
                wait([looking])
            cases += _networking(build, link, again)
        if E2ESuite.NODE_BOOTSTRAP in suites:
            # Twice: by the guest's own firewall, and by the network, where nothing in the guest can undo it.
            refuse_outbound(build.cloud, vm)
            run_stage(build, link, SET_OUTBOUND, OutboundInput(blocked=True), StageResult, attempt=f"boot test{again}")
            cases += _bootstrap(build, vm, link, definition, lock, suite=E2ESuite.NODE_BOOTSTRAP, from_cache=True, again=again)
        return [*first, *(looking.result() if looking is not None else ()), *cases]


@step_task("plain-bootstrap", "Bootstrap on the plain base image")
def plain_bootstrap(build: Build, definition: ImageDefinition, lock: ImageLock, plan: BuildPlan) -> list[E2ECase]:
    """The node bootstrap on the base image itself, with the network on: it must download everything, and succeed."""
    base = plan.base
    source = MarketplaceImage(base.publisher, base.offer, base.sku, base.version)
    with build.timings.step("plain base image VM") as step:
        build.slots.take("plain", step.progress, build.must_go_on)
        build.must_go_on()
        vm = provision(build.cloud, vm_request(build, plan, source, role="plain"), build.tags, step.progress)
        build.slots.settle("plain", vm.size, step.progress)
    with contacted(build, vm) as link:
        cases = _bootstrap(build, vm, link, definition, lock, suite=E2ESuite.PLAIN_BOOTSTRAP, from_cache=False)
    # The build goes on for long: other builds may use its cores.
    try:
        delete_vm(build.cloud, vm.resource_group, vm.name)
    except CloudError as error:
        run_logger().warning("the plain base image VM stays until the build's resource group goes: %s", error)
    else:
        build.slots.give_back("plain")
    return cases


def _case(suite: E2ESuite, name: str, problem: str, seconds: float = 0.0) -> E2ECase:
    return E2ECase(suite=suite.value, name=name, outcome="failed" if problem else "passed", seconds=seconds, message=problem)


def _first_boot(build: Build, link: GuestLink, again: str) -> list[E2ECase]:
    suite = E2ESuite.FIRST_BOOT
    first = run_stage(build, link, TEST_FIRST_BOOT, NoInput(), FirstBootResult, attempt=f"boot test{again}" if again else "")
    state = "" if first.image_state == "IMAGE_STATE_COMPLETE" else f"Windows' setup state is {first.image_state}"
    identity = "" if first.vhd_id == str(build.vhd_id) else f"C:\\vhd-id.txt says {first.vhd_id}, this build wrote {build.vhd_id}"
    return [
        _case(suite, "setup is complete", state),
        _case(suite, "no leftovers of the build", ", ".join(first.leftovers)),
        _case(suite, "identity file", identity),
    ]


def _promised_inventory(build: Build, link: GuestLink, image: tuple[ImageDefinition, ImageLock, BuildPlan], again: str) -> list[E2ECase]:
    definition, lock, plan = image
    looked_at = inventory_input(definition, plan.fix)
    inventory = run_stage(build, link, GET_INVENTORY, looked_at, InventoryResult, attempt=f"boot test{again}").inventory
    differences = compare_with_promise(definition, lock, plan, inventory)
    return [_case(E2ESuite.FIRST_BOOT, "inventory is what was promised", "; ".join(differences[:20]))]


def _networking(build: Build, link: GuestLink, again: str) -> list[E2ECase]:
    suite = E2ESuite.NETWORKING
    result = run_stage(build, link, TEST_NETWORKING, NetworkingInput(subnet=TEST_SUBNET), NetworkingResult, attempt=f"{suite.value}{again}")
    return [_case(suite, check.name, "" if check.passed else check.error or "failed", check.seconds) for check in result.checks]


def _bootstrap(
    build: Build,
    vm: BuildVm,
    link: GuestLink,
    definition: ImageDefinition,
    lock: ImageLock,
    *,
    suite: E2ESuite,
    from_cache: bool,
    again: str = "",
) -> list[E2ECase]:
    given = BootstrapInput(versions=bootstrap_versions(definition, lock), cache_root=CACHE_ROOT, work_folder=WORK_FOLDER)
    result = run_stage(build, link, TEST_NODE_BOOTSTRAP, given, BootstrapResult, attempt=f"{suite.value}{again}")
    wanted = "cache" if from_cache else "download"
    cases = []
    for file in result.files:
        problem = file.error
        if not problem and file.source != wanted:
            problem = f"came from {file.source}, expected {wanted}"
        elif not problem and not (file.verified and file.unpacked_files):
            problem = "was not verified" if not file.verified else "held no files"
        cases.append(_case(suite, f"{file.kubernetes_version} {file.name}", problem, file.seconds))
    wanted_files = [file.name for version in given.versions for file in version.files]
    looked_for = sorted(file.name for file in result.files)
    cases.append(
        _case(suite, "every file was looked for", "" if looked_for == sorted(wanted_files) else f"{len(looked_for)} of {len(wanted_files)}")
    )
    # A file that several versions share may be fetched once or for each of them.
    distinct = len(set(wanted_files))
    counted = result.downloads == 0 if from_cache else result.downloads >= distinct
    cases.append(_case(suite, "no downloads" if from_cache else "downloads", "" if counted else f"the guest counted {result.downloads}"))
    seen = requests_of(build, vm)
    if seen is not None:
        # The guest's word is not enough: the origin keeps its own log.
        problem = "" if (seen == 0 if from_cache else seen >= distinct) else f"the origin's log shows {seen} requests of this VM"
        cases.append(_case(suite, "the origin's request log agrees", problem))
    return cases


def requests_of(build: Build, vm: BuildVm) -> int | None:
    """Downloads of a VM in the artifact origin's own log; None where there is no such log (the real Internet).

    Raises BootTestError when the log can not be read.
    """
    url = build.cloud.profile.origin_log_url
    if url is None:
        return None
    client = f"winvhd-guest/{vm.vm_id.lstrip('/')}".lower()
    try:
        lines = httpx.get(url, timeout=30).raise_for_status().text.splitlines()
        return sum(str(json.loads(line)["client"]).lower() == client for line in lines if line)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise BootTestError(
            f"the origin's request log can not be read: {type(error).__name__}: {error}",
            where=url,
            hint="does the stand-in cloud still run? See: winvhd local status",
        ) from error


def judge(build: Build, definition: ImageDefinition, cases: list[E2ECase]) -> None:
    """Write e2e.xml; raises BootTestError naming the checks that failed."""
    report = E2EReport(image=definition.name, cases=tuple(cases))
    path = build.folder / "e2e.xml"
    path.write_text(render_junit(report), encoding="utf-8")
    if report.failures:
        listed = "\n".join(f"  {case.suite}: {case.name}: {case.message}" for case in report.failures)
        raise BootTestError(
            f"{len(report.failures)} of {len(report.cases)} checks failed\n{listed}",
            hint="the image was captured, but must not be published",
            kept=f"the report is {path}; the VHD is in the build's blob folder {build.build_id}",
        )
