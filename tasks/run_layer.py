"""The layers of an image, run in a guest; the last one also documents the image and says good-bye."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from images.definition import ImageDefinition
from images.lock import ImageLock
from images.notes.facts import ReleaseFacts
from images.plan import BuildPlan, Layer, PlannedStage
from images.stages.finish import GENERALIZE, GET_INVENTORY, SET_IDENTITY, SET_TEXT_FILE, GeneralizeInput, InventoryResult
from images.steps.finish import RELEASE_NOTES_PATH
from images.updates.feed import FeedUpdate
from images.updates.fixes import fixes_between
from infra.azure.version_register import VersionRegister
from infra.azure.vm_request import BuildVm
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.capture_vhd import generalize_guest
from tasks.inspect_vhd import check_promises
from tasks.reserve_version import reserve_version
from tasks.run_stage import check_promised_build, restart_guest, run_planned
from tasks.supply import ArtifactSupply
from tasks.write_documents import previous_release, release_facts, write_documents


@dataclass
class LayerWork:
    """One guest and everything its layers need."""

    build: Build
    definition: ImageDefinition
    lock: ImageLock
    plan: BuildPlan
    vm: BuildVm
    link: GuestLink
    supply: ArtifactSupply
    _facts: ReleaseFacts | None = None

    @property
    def facts(self) -> ReleaseFacts:
        """What the documents say; only after the last layer's inventory."""
        if self._facts is None:
            raise ValueError("the inventory has not been taken yet")
        return self._facts

    @property
    def is_finished(self) -> bool:
        """True once the last layer was documented."""
        return self._facts is not None

    def run(self, layer: Layer) -> None:
        """Run every stage of a layer, in order, and restart where the plan says so; raises what a stage raises.

        A restart after the last stage of a layer that ends in a checkpoint is left to whoever saves it: the stop for it is that restart.
        """
        for number, planned in enumerate(layer.stages):
            self._run_stage(layer, number, planned)
            if planned.restart_after and not (layer.reusable and number == len(layer.stages) - 1):
                check_promised_build(planned, restart_guest(self.build, self.link, layer=layer.name.value))

    def _run_stage(self, layer: Layer, number: int, planned: PlannedStage) -> None:
        if planned.stage == GENERALIZE.name:
            endpoint = self.link.endpoint
            completed = planned.complete(
                {"build_account": endpoint.account, "certificate_thumbprint": endpoint.thumbprint, "listener_port": endpoint.port}
            )
            if not isinstance(completed, GeneralizeInput):
                raise TypeError(type(completed).__name__)
            generalize_guest(self.build, self.vm, self.link, completed, layer=layer.name.value)
            return
        result = run_planned(
            self.build, self.link, planned, layer=layer.name.value, number=number, supply=self.supply, values=self._values_of(planned)
        )
        if planned.stage == GET_INVENTORY.name and isinstance(result, InventoryResult):
            self._document(result)

    def _values_of(self, planned: PlannedStage) -> dict[str, JsonValue]:
        if planned.stage == SET_IDENTITY.name:
            return {"vhd_id": str(self.build.vhd_id)}
        if planned.stage == SET_TEXT_FILE.name and planned.input.get("path") == RELEASE_NOTES_PATH:
            return {"text": write_documents(self.build.folder, self.facts)}
        return {}

    def _document(self, result: InventoryResult) -> None:
        inventory = result.inventory
        # Before generalize: a wrong image is not worth a capture.
        check_promises(self.definition, self.lock, self.plan, inventory, "image")
        register = VersionRegister(self.build.cloud, container=self.build.builds_container)
        version = reserve_version(register, self.definition.name, inventory.os.version, self.build.build_id)
        # What was released is public, also for a build that leaves nothing there itself.
        previous = previous_release(VersionRegister(self.build.cloud), self.definition.name, version)
        previews = [update.kb for update in self.lock.updates if update.preview]
        fixes: tuple[FeedUpdate, ...] = ()
        if previous is not None:
            before = previous.inventory
            fixes = fixes_between(self.build.shared.feed, before.os.version, inventory.os.version, new_kbs=inventory.kbs_since(before))
        self._facts = release_facts(self.build, self.definition, self.plan, inventory, version, previous, previews, fixes)
