"""The reference: the same image, built as AgentBaker's Packer template builds it.

    .venv/bin/python -m tests.bench.reference_build DEFINITION [--until sysprep]

One VM, one provisioner after the other, downloads inside the guest, no checkpoints: every build is a full one, and a build that fails
starts again from the beginning. The order is that of vhdbuilder/packer/windows/windows-vhd-builder-sig.json and
configure-windows-vhd.ps1 (Azure/AgentBaker): upload; phase 0 enables the hypervisor and restarts; phase 1 expands the partition, excludes
UDP 65330, updates Defender, sets the Windows Update policy, delays WinRM, installs OpenSSH, updates and features, and restarts; phase 2
undoes the delay, installs containerd, sets the registry, pulls images, downloads packages, unpacks tools, sets the registry again, and
restarts; phase 3 registers the volume task, cleans up, writes the identity and looks at the free space; then release notes, sysprep,
capture, a boot test, the bootstrap on a plain image, and the deletion of everything, which Packer waits for.

It runs on the stand-in through our own adapters, link and stage contracts, so both sides pay the same for the same operation, and it does
not pay for Prefect.

Kinder than the real thing:
- One resource group with one deletion at the end; Packer deletes its own before the tests, which then make another one.
- One update of Defender for platform and signatures together; AgentBaker runs two.
- Updates and features share one restart. Phase 0 is a restart only: our feature stage runs bcdedit itself.
- The scripts travel once, not one by one. No Key Vault is made for WinRM's certificate: the first contact takes one Run Command instead.
- The VHD is not read back and hashed after the copy, and nobody inspects the disk.
- Sysprep has a bound. AgentBaker's loop has none.

Harsher than the real thing:
- The boot test does all that ours does, inventory and offline bootstrap included; AgentBaker's looks for files and versions.
- The plain bootstrap is part of it; AgentBaker tests that elsewhere.
- An inventory before the release notes, as ours; AgentBaker's script lists files, images and updates, which is part of that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from pydantic import SecretStr

from images.bootstrap import CACHE_ROOT, bootstrap_versions
from images.definition import E2ESuite, ImageDefinition
from images.errors import StageError
from images.loading import find_definition, load_definition, read_uploads
from images.lock import ImageLock
from images.plan import BuildPlan, PlannedStage, make_plan
from images.stages.boot import SET_OUTBOUND, TEST_FIRST_BOOT, TEST_NODE_BOOTSTRAP, BootstrapInput, BootstrapResult, OutboundInput
from images.stages.contract import NoInput, StageContract, StageInput, StageResult
from images.stages.finish import GENERALIZE, GET_INVENTORY, SET_TEXT_FILE, GeneralizeInput
from images.steps.finish import RELEASE_NOTES_PATH, SYSPREP_TIMEOUT_S, inventory_input
from infra.azure.blob_storage import BUILDS_CONTAINER, BuildBlobs, ensure_container
from infra.azure.build_vm import provision
from infra.azure.disk_capture import disk_read_access
from infra.azure.managed_image import make_image
from infra.azure.resource_group import delete_group
from infra.azure.run_command import RunCommandResult, run_command
from infra.azure.server_copy import copy_on_server
from infra.azure.session import Cloud, open_cloud
from infra.azure.tags import BuildTags
from infra.azure.vm_network import refuse_outbound
from infra.azure.vm_power import deallocate, generalize, wait_for_power_state
from infra.azure.vm_request import BuildVm, ManagedImage, MarketplaceImage, Role, VmRequest, VmSource
from infra.guest.contact import first_contact
from infra.guest.endpoint import GuestEndpoint
from infra.guest.guest_port import guest_port
from infra.guest.limits import LinkLimits
from infra.guest.link import GuestLink
from infra.guest.package import guest_scripts
from infra.profiles import load_profile
from tasks.resolve_lock import resolve_lock
from tasks.supply import artifacts_of
from tests.bench.packer_phases import packer_input, packer_phases

VHD_ID = UUID(int=1)
WORK_FOLDER = r"C:\winvhd-bootstrap"


@dataclass
class ReferenceStep:
    """How long one part of the build took, in seconds."""

    name: str
    seconds: float


@dataclass
class Reference:
    """One build that was done as Packer does it."""

    cloud: Cloud
    definition: ImageDefinition
    lock: ImageLock
    plan: BuildPlan
    tags: BuildTags
    until: str = ""
    steps: list[ReferenceStep] = field(default_factory=list)

    def run(self) -> None:
        """Build, test, delete; raises what a step raises, after the deletion. With `until` the build fails at that step on purpose."""
        try:
            vm = self._make("build", self._base)
            with self._contact(vm) as link:
                self._phases(link)
                self._generalize(vm, link)
            image = self._capture(vm)
            vm = self._make("test", ManagedImage(image))
            with self._contact(vm) as link:
                self._boot_test(vm, link)
            if E2ESuite.PLAIN_BOOTSTRAP in self.definition.e2e_suites:
                with self._contact(self._make("plain", self._base)) as link:
                    self._bootstrap(link, "download")
        finally:
            with self._step("delete the resource group"):
                delete_group(self.cloud, self.tags.build_id, wait=True)

    @property
    def _base(self) -> VmSource:
        base = self.plan.base
        return MarketplaceImage(base.publisher, base.offer, base.sku, base.version)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.steps.append(ReferenceStep(name, round(time.monotonic() - started, 3)))

    def _make(self, role: Role, source: VmSource) -> BuildVm:
        request = VmRequest(
            source=source,
            generation=self.plan.base.generation.value,
            os_disk_gib=self.plan.os_disk_gib,
            winrm_port=self.cloud.profile.winrm_port or guest_port(),
            role=role,
        )
        address = self.cloud.profile.source_address
        self._port = request.winrm_port
        with self._step(f"{role} VM"):
            return provision(self.cloud, replace(request, source_address=address) if address else request, self.tags)

    @contextmanager
    def _contact(self, vm: BuildVm) -> Iterator[GuestLink]:
        def run(script: str, parameters: Mapping[str, str], protected: Mapping[str, SecretStr]) -> RunCommandResult:
            return run_command(self.cloud, vm, script, parameters, protected)

        def contact() -> GuestEndpoint:
            return first_contact(run, address=vm.address, port=self._port)

        profile = self.cloud.profile
        limits = LinkLimits.paced(profile.poll_interval_s, restart_s=profile.restart_limit_s, reconnect_s=profile.silence_limit_s)
        with self._step(f"{vm.role} VM: first contact"):
            link = GuestLink(contact(), limits=limits, renew=contact)
            link.upload_scripts()
        with link:
            yield link

    def _phases(self, link: GuestLink) -> None:
        phases = packer_phases(self.plan)
        self._restart(link, "phase 0")
        self._planned(link, "phase 1", phases.phase_1)
        self._restart(link, "phase 1")
        self._planned(link, "phase 2", phases.phase_2)
        self._restart(link, "phase 2")
        self._planned(link, "phase 3", phases.phase_3)
        self._stage(link, "release notes", GET_INVENTORY, inventory_input(self.definition))
        notes = SET_TEXT_FILE.input.model_validate({"path": RELEASE_NOTES_PATH, "text": "release notes"})
        self._stage(link, "release notes", SET_TEXT_FILE, notes)

    def _planned(self, link: GuestLink, phase: str, stages: Iterable[PlannedStage]) -> None:
        urls = {artifact.sha256: artifact.url for artifact in artifacts_of(self.lock)}
        for stage in stages:
            whole = packer_input(stage, str(VHD_ID), lambda token: urls[token.partition(":")[2]])
            self._stage(link, phase, stage.contract, whole)

    def _stage(self, link: GuestLink, phase: str, contract: StageContract, given: StageInput) -> StageResult:
        with self._step(f"{phase}: {contract.title or contract.name}"):
            return link.run_stage(contract, given, run_id=f"{contract.name}-{len(self.steps)}")

    def _restart(self, link: GuestLink, phase: str) -> None:
        with self._step(f"{phase}: restart"):
            link.restart()

    def _generalize(self, vm: BuildVm, link: GuestLink) -> None:
        endpoint = link.endpoint
        given = GeneralizeInput(
            sysprep_timeout_s=SYSPREP_TIMEOUT_S,
            build_account=endpoint.account,
            certificate_thumbprint=endpoint.thumbprint,
            listener_port=endpoint.port,
        )
        with self._step("sysprep"):
            link.generalize(given, run_id="sysprep")
            wait_for_power_state(self.cloud, vm, "stopped", timeout_s=900)
        if self.until == "sysprep":
            raise StageError("sysprep did not finish", stage=GENERALIZE.name, code="sysprep-stuck", hint="asked for")

    def _capture(self, vm: BuildVm) -> str:
        blobs = BuildBlobs(self.cloud, self.tags.build_id)
        with self._step("capture"):
            ensure_container(self.cloud, BUILDS_CONTAINER)
            deallocate(self.cloud, vm)
            generalize(self.cloud, vm)
            with (
                disk_read_access(self.cloud, vm.resource_group, vm.os_disk_name) as source,
                blobs.client("image.vhd") as target,
            ):
                copy_on_server(self.cloud, source, target, identity=vm.os_disk_id)
        with self._step("image of the test VM"):
            generation = self.plan.base.generation
            return make_image(
                self.cloud, vm.resource_group, "boot-test", blobs.url("image.vhd"), generation=generation.value, tags=self.tags
            )

    def _boot_test(self, vm: BuildVm, link: GuestLink) -> None:
        self._stage(link, "boot test", TEST_FIRST_BOOT, NoInput())
        self._stage(link, "boot test", GET_INVENTORY, inventory_input(self.definition))
        with self._step("boot test: refuse outbound traffic"):
            refuse_outbound(self.cloud, vm)
        self._stage(link, "boot test", SET_OUTBOUND, OutboundInput(blocked=True))
        self._bootstrap(link, "cache")

    def _bootstrap(self, link: GuestLink, wanted: str) -> None:
        given = BootstrapInput(versions=bootstrap_versions(self.definition, self.lock), cache_root=CACHE_ROOT, work_folder=WORK_FOLDER)
        result = self._stage(link, "bootstrap", TEST_NODE_BOOTSTRAP, given)
        assert isinstance(result, BootstrapResult)
        wrong = [file.name for file in result.files if file.source != wanted or not file.verified]
        if wrong or not result.files:
            raise StageError(f"not from the {wanted}: {wrong}", stage=TEST_NODE_BOOTSTRAP.name, code="bootstrap", hint="look at the guest")


def build_reference(image: str, *, until: str = "") -> list[ReferenceStep]:
    """Seconds of each step of a reference build; with `until="sysprep"` of one that fails there and is cleaned up."""
    file = find_definition(image)
    definition = load_definition(file)
    now = datetime.now(UTC)
    with open_cloud(load_profile("local")) as cloud:
        lock = resolve_lock(definition, file, cloud)
        plan = make_plan(definition, lock, scripts=guest_scripts(), uploads=read_uploads(definition))
        tags = BuildTags(build_id=f"reference-{now:%H%M%S%f}", flow_run_id="", expires_at=now + timedelta(days=1))
        reference = Reference(cloud, definition, lock, plan, tags, until)
        try:
            reference.run()
        except StageError:
            if not until:
                raise
        return reference.steps


def main() -> None:
    """Build once on the running stand-in and print the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("definition", type=Path)
    parser.add_argument("--until", choices=("sysprep",), default="")
    given = parser.parse_args()
    steps = build_reference(str(given.definition), until=given.until)
    for step in steps:
        print(f"{step.seconds:8.2f} s  {step.name}")
    print(f"{sum(step.seconds for step in steps):8.2f} s")


if __name__ == "__main__":
    main()
