"""The critical path: the shortest that a scenario can take at all, from the plan and the latency profile alone.

Nothing here is measured. An operation begins when all it needs is there, everything else runs beside it, and our own work takes no time.
What must follow what:

    resource group → security group, virtual network, address (side by side) → interface
    interface, disk                     → vm.create
    from an image:   vm.create → guest.specialize → guest.boot → Run Command
    from a disk:     vm.create → guest.servicing, when something waits for it → guest.boot, beside Run Command, which waits for the agent
    Run Command                         → scripts (guest.package) → the first stage
    stage                               → the next stage of the same guest
    restart:   guest.shutdown → guest.servicing, when something waits for it → guest.boot → guest.services → the next stage
    a layer that ends in a checkpoint:  vm.powerOff → snapshot.create → vm.start → guest.servicing → guest.boot → guest.services
                                        (instead of the restart that the layer ends with, if it ends with one)
    lookup of a checkpoint              → disk.create from it → vm.create
    origin.fetch of a file              → the stage that needs it
    inventory                           → release notes → generalize
    generalize                          → guest.shutdown → vm.deallocate → disk.beginGetAccess → blob.copy
    blob.copy                           → image.create → the test VM, whose network is there by then
    blob.copy                           → blob.read: one pass for the hash and the inspection
    test VM                             → first boot → inventory, and beside it outbound refused → bootstrap from the cache
    plain VM, from the beginning        → bootstrap from the Internet
    all of them                         → the result

A checkpoint's price is part of the path: leaving it behind is what the later scenarios live on. Deleting the build's resources is not: the
result is there before. A stage is one operation, whose minutes include its items in as many lanes as its script has, first come, first
served. A checkpoint that was taken while servicing waited for the restart brings that servicing to every VM that is made from it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from images.bootstrap import bootstrap_versions
from images.definition import E2ESuite, ImageDefinition
from images.lock import ImageLock
from images.plan import BuildPlan, Layer, PlannedStage
from images.stages.content import PullImageInput, SaveFileInput
from images.stages.contract import LayerName
from infra.local.latency import LatencyProfile
from tasks.supply import artifacts_of


@dataclass(frozen=True)
class Node:
    """An operation: when it ends, in minutes since the beginning, and through which operations."""

    ends_at: float
    path: tuple[tuple[str, float], ...] = ()


START = Node(0.0)
_SERVICING = frozenset({"install-update", "install-feature"})
"""Stages whose work Windows ends while it restarts."""


@dataclass(frozen=True)
class Image:
    """What one image of a scenario is built from."""

    definition: ImageDefinition
    lock: ImageLock
    plan: BuildPlan


@dataclass
class Clock:
    """Adds operations of a latency profile after others."""

    latency: LatencyProfile

    def after(self, needs: Iterable[Node], name: str, minutes: float) -> Node:
        """An operation that begins when all it needs is there."""
        last = max(needs, key=lambda node: node.ends_at)
        return Node(last.ends_at + minutes, (*last.path, (name, minutes)) if minutes else last.path)

    def chain(self, need: Node, *operations: str) -> Node:
        """Operations of the profile, one after the other."""
        for operation in operations:
            need = self.after([need], operation, self.latency.minutes_of(operation))
        return need

    def stage(self, stage: str) -> float:
        """Minutes of a stage without its items."""
        own = f"guest.{stage}"
        return self.latency.minutes_of(own if self.latency.knows(own) else "guest.stage")


def lanes(minutes: Sequence[float], count: int) -> float:
    """Minutes until all items are done, in their order, each in the lane that is free first."""
    free = [0.0] * max(1, count)
    for item in minutes:
        heapq.heappush(free, heapq.heappop(free) + item)
    return max(free)


def pull_minutes(latency: LatencyProfile, wanted: PullImageInput) -> float:
    """Minutes to pull images: each lane transfers one, waits for its turn to unpack it, and takes the next."""
    waiting = list(wanted.images)
    arrivals: list[tuple[float, int, float]] = []

    def begin(at: float) -> None:
        if waiting:
            image = waiting.pop(0)
            transfer = "guest.image-blob" if image.blobs else "guest.image-transfer"
            arrived = at + latency.minutes_of(transfer, image.reference)
            heapq.heappush(arrivals, (arrived, -len(waiting), latency.minutes_of("guest.image-unpack", image.reference)))

    for _ in range(wanted.parallel):
        begin(0.0)
    done = 0.0
    while arrivals:
        arrived, _, unpacking = heapq.heappop(arrivals)
        done = max(done, arrived) + unpacking
        begin(done)
    return done


@dataclass
class Build:
    """The operations of one image's build."""

    image: Image
    clock: Clock
    _pending: bool = field(default=False, init=False)
    """True while servicing waits for a restart."""

    @property
    def _latency(self) -> LatencyProfile:
        return self.clock.latency

    def first_layers(self, layers: Sequence[Layer], needs: Node) -> tuple[Node, dict[str, Node]]:
        """From the base image through layers: (the guest after them, each layer's checkpoint by fingerprint)."""
        return self._layers(layers, self.contact(needs, "build VM", from_image=True))

    def resume(self, layers: Sequence[Layer], checkpoint: Node) -> tuple[Node, dict[str, Node]]:
        """The same from a checkpoint."""
        disk = self.clock.chain(checkpoint, "disk.create")
        below = self.image.plan.layers[self.image.plan.layers.index(layers[0]) - 1]
        self._pending = below.stages[-1].stage in _SERVICING
        return self._layers(layers, self.contact(disk, "build VM", from_image=False, network_needs=checkpoint))

    def contact(self, needs: Node, vm: str, *, from_image: bool, network_needs: Node = START) -> Node:
        """A new VM whose guest takes stages."""
        network = self.clock.chain(network_needs, "network.create", "network.create")
        made = self.clock.after([network, needs], f"vm.create ({vm})", self._latency.minutes_of("vm.create"))
        if from_image:
            booted = self.clock.chain(made, "guest.specialize", "guest.boot")
            asked = self.clock.chain(booted, "runCommand")
        else:
            servicing = self.clock.chain(made, "guest.servicing") if self._pending else made
            self._pending = False
            booted, asked = self.clock.chain(servicing, "guest.boot"), self.clock.chain(made, "runCommand")
        return self.clock.after([booted, asked], "guest.package", self._latency.minutes_of("guest.package"))

    def _layers(self, layers: Sequence[Layer], guest: Node) -> tuple[Node, dict[str, Node]]:
        checkpoints: dict[str, Node] = {}
        for layer in layers:
            for number, stage in enumerate(layer.stages):
                guest = self._stage(guest, layer, stage)
                is_last = number == len(layer.stages) - 1
                if stage.restart_after and not (is_last and layer.reusable):
                    guest = self._boot(self.clock.chain(guest, "guest.shutdown"))
            if layer.reusable:
                saved = self.clock.chain(guest, "vm.powerOff", "snapshot.create")
                checkpoints[layer.fingerprint] = saved
                guest = self._boot(self.clock.chain(saved, "vm.start"))
        return guest, checkpoints

    def _boot(self, off: Node) -> Node:
        servicing = self.clock.chain(off, "guest.servicing") if self._pending else off
        self._pending = False
        return self.clock.chain(servicing, "guest.boot", "guest.services")

    def _stage(self, guest: Node, layer: Layer, stage: PlannedStage) -> Node:
        needs = [guest, *self._fetched(stage)]
        minutes = self.clock.stage(stage.stage) + self._items(stage)
        self._pending = self._pending or stage.stage in _SERVICING
        return self.clock.after(needs, f"{layer.name.value}: {stage.contract.title or stage.stage}", minutes)

    def _fetched(self, stage: PlannedStage) -> list[Node]:
        """The files that a stage needs, each on its way since the beginning."""
        wanted = {token.partition(":")[2] for token in stage.tokens if token.startswith("cache:")}
        files = [artifact for artifact in artifacts_of(self.image.lock) if artifact.sha256 in wanted]
        return [self.clock.after([START], "origin.fetch", self._latency.minutes_of("origin.fetch", file.url)) for file in files]

    def _items(self, stage: PlannedStage) -> float:
        minutes_of = self._latency.minutes_of
        match stage.stage:
            case "install-update":
                updates = stage.input["updates"]
                count = len(updates) if isinstance(updates, list) else 0
                return count * (minutes_of("guest.update") + minutes_of("guest.blob-file"))
            case "install-capability":
                names = stage.input["capabilities"]
                return len(names) * minutes_of("guest.capability") if isinstance(names, list) else 0.0
            case "install-containerd":
                return minutes_of("guest.blob-file")
            case "import-container-image":
                return pull_minutes(self._latency, PullImageInput.model_validate(stage.input))
            case "save-cached-file" if not stage.input_at_run_time:
                wanted = SaveFileInput.model_validate(stage.input)
                return lanes([minutes_of("guest.blob-file")] * len(wanted.files), wanted.parallel)
            case "install-tool":
                tools = stage.input["tools"]
                return len(tools) * minutes_of("guest.tool") if isinstance(tools, list) else 0.0
        return 0.0

    def finish(self, guest: Node) -> Node:
        """Capture and tests, once the last layer's stages have run, the plain bootstrap beside everything."""
        copied = self.clock.chain(guest, "guest.shutdown", "vm.deallocate", "disk.beginGetAccess", "blob.copy")
        read = self.clock.chain(copied, "blob.read")
        ends = [read, self._boot_test(self.clock.chain(copied, "image.create"))]
        if E2ESuite.PLAIN_BOOTSTRAP in self.image.definition.e2e_suites:
            plain = self.contact(START, "plain VM", from_image=True)
            minutes = self._bootstrap("origin.fetch")
            ends.append(self.clock.after([plain], "bootstrap on the plain image", minutes))
        return max(ends, key=lambda node: node.ends_at)

    def _boot_test(self, image: Node) -> Node:
        guest = self.contact(image, "test VM", from_image=True)
        suites = self.image.definition.e2e_suites
        ends = [guest]
        if E2ESuite.FIRST_BOOT in suites:
            guest = self.clock.after([guest], "first boot", self.clock.stage("test-first-boot"))
            ends.append(self.clock.after([guest], "boot test: Inventory", self.clock.stage("get-inventory")))
        if E2ESuite.NODE_BOOTSTRAP in suites:
            refused = self.clock.chain(guest, "network.create")
            guest = self.clock.after([refused], "outbound refused", self.clock.stage("set-outbound-access"))
            ends.append(self.clock.after([guest], "bootstrap from the cache", self._bootstrap("")))
        return max(ends, key=lambda node: node.ends_at)

    def _bootstrap(self, fetch: str) -> float:
        minutes = self.clock.stage("test-node-bootstrap")
        for version in bootstrap_versions(self.image.definition, self.image.lock):
            for file in version.files:
                minutes += self._latency.minutes_of("guest.bootstrap-file", file.name)
                minutes += self._latency.minutes_of(fetch, file.url) if fetch else 0.0
        return minutes


def build_path(latency: LatencyProfile, image: Image, known: Iterable[str] = ()) -> Node:
    """One build; `known` are the fingerprints of the checkpoints that are there."""
    clock = Clock(latency)
    start, rest = _split(image.plan, set(known))
    build = Build(image, clock)
    guest, _ = build.resume(rest, START) if start else build.first_layers(rest, START)
    return build.finish(guest)


def failed_path(latency: LatencyProfile, image: Image) -> Node:
    """A build that fails when sysprep has run its time, and a second one that resumes; the two of them together."""
    build = Build(image, Clock(latency))
    failed, _ = build.first_layers(image.plan.layers, START)
    again = build_path(latency, image, [layer.fingerprint for layer in image.plan.layers if layer.reusable])
    return Node(failed.ends_at + again.ends_at, (*failed.path, *again.path))


def several_path(latency: LatencyProfile, images: Sequence[Image]) -> Node:
    """Several builds at once: the first image that has a layer builds it, the others start from its checkpoint as soon as it is there."""
    clock = Clock(latency)
    checkpoints: dict[str, Node] = {}
    ends: list[Node] = []
    for image in images:
        build = Build(image, clock)
        start, rest = _split(image.plan, set(checkpoints))
        guest, made = build.resume(rest, checkpoints[start]) if start else build.first_layers(rest, START)
        checkpoints |= made
        ends.append(build.finish(guest))
    return max(ends, key=lambda node: node.ends_at)


def _split(plan: BuildPlan, known: set[str]) -> tuple[str, tuple[Layer, ...]]:
    """(the highest layer that is known, the layers above it)."""
    reusable = [layer.fingerprint for layer in plan.layers if layer.name is not LayerName.FINISH]
    start = next((fingerprint for fingerprint in reversed(reusable) if fingerprint in known), "")
    return start, plan.after(start or None)
