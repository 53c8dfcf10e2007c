"""The layers of a plan in one VM: from the highest checkpoint on, each built by the one build that holds its lease, and saved.

Two builds of the same layer at the same time build it once: the second waits without a VM, and starts from the checkpoint as soon as it is
there, or takes over when the first one's lease ends without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from images.errors import CloudError, StageError
from images.plan import BuildPlan, Layer
from infra.azure.checkpoint_restore import CHECKPOINT_GONE
from infra.azure.checkpoint_state import Checkpoint
from infra.azure.layer_lease import LayerLease, holder_of, try_acquire
from tasks.build import Build
from tasks.find_start import find_layer, find_start, is_of_this_run, show_reused
from tasks.run_layer import LayerWork
from tasks.run_stage import check_promised_build, restart_guest
from tasks.save_layer import save_layer
from tasks.take_over import end_take_over

WAIT_POLLS = 3
"""A waiting build looks this many poll intervals apart: each look is one request for the lease and one for the checkpoint."""

OpenGuest = Callable[[Checkpoint | None, tuple[Layer, ...]], AbstractContextManager[LayerWork]]
"""A VM that starts at a checkpoint or the base image and is to build these layers, with a link to its guest."""


@dataclass(frozen=True)
class LayerBuilder:
    """One image's way through its layers."""

    build: Build
    plan: BuildPlan
    lock_digest: str
    open_guest: OpenGuest
    from_scratch: bool = False
    """Use only what this very run has saved, in an earlier attempt too."""

    def run(self) -> LayerWork:
        """The work in the VM that all layers were run in, the last one included; the guest is generalized and off.

        Raises what a stage raises, CloudError, GuestLinkError.
        """
        while True:
            self.build.must_go_on()
            start = find_start(self.build, self.plan, of_this_run=self.from_scratch)
            # A layer without stages adds nothing that could be saved.
            missing = tuple(layer for layer in self.plan.after(start.fingerprint if start else None) if layer.stages)
            with self._turn(missing[0]) as lease:
                if lease is None and missing[0].reusable:
                    continue
                # Asked with the lease in hand: who could not build a layer has noted that before giving its lease back.
                for layer in missing:
                    self._must_not_be_broken(layer)
                try:
                    with self.open_guest(start, missing) as work:
                        if start is not None:
                            show_reused(self.build, self.plan, start)
                        if self._climb(work, missing, lease):
                            return work
                except CloudError as error:
                    # Pruned between the look-up and its use: the next look-up finds another place to start, at worst the base image.
                    if start is None or error.code != CHECKPOINT_GONE:
                        raise

    def _climb(self, work: LayerWork, layers: tuple[Layer, ...], lease: LayerLease | None) -> bool:
        """Run the layers; False when another build has the next one: its checkpoint will be the place to go on from."""
        try:
            for layer, following in zip(layers, [*layers[1:], None], strict=True):
                if not layer.reusable:
                    end_take_over(self.build, work.vm)
                self._must_not_be_broken(layer)
                with self._broken_is_noted(layer):
                    work.run(layer)
                if not layer.reusable:
                    continue
                if lease is None:
                    # Lost before: from here on this VM's layers are of no use to others.
                    with self._broken_is_noted(layer):
                        self._restart_if_due(work, layer)
                    continue
                # Before the checkpoint is there: whoever waits for this layer should go on above the next one, not beside us.
                upper = self._acquire(following) if following is not None and following.reusable else None
                try:
                    with self._broken_is_noted(layer):
                        saved = save_layer(
                            self.build, self.plan, layer, self.lock_digest, work.vm, work.link, lease, replace=self.from_scratch
                        )
                finally:
                    lease.release()
                    lease = upper
                if upper is None and saved is not None and following is not None and following.reusable:
                    return False
            return True
        finally:
            if lease is not None:
                lease.release()

    @contextmanager
    def _broken_is_noted(self, layer: Layer) -> Iterator[None]:
        """Also when it breaks at the restart that completes it: the other images of the run need not try the same."""
        try:
            yield
        except StageError as error:
            self.build.shared.broken_layers[layer.fingerprint] = error
            raise

    def _restart_if_due(self, work: LayerWork, layer: Layer) -> None:
        last = layer.stages[-1]
        if last.restart_after:
            check_promised_build(last, restart_guest(self.build, work.link, layer=layer.name.value))

    def _acquire(self, layer: Layer) -> LayerLease | None:
        """The lease of a layer that nobody builds and nobody has built."""
        lease = try_acquire(
            self.build.cloud,
            scope=self.build.scope,
            fingerprint=layer.fingerprint,
            holder=self.build.build_id,
            container=self.build.builds_container,
        )
        if lease is not None and self._is_there(layer):
            lease.release()
            return None
        return lease

    def _is_there(self, layer: Layer) -> bool:
        found = find_layer(self.build, layer)
        return found is not None and (not self.from_scratch or is_of_this_run(self.build, found))

    @contextmanager
    def _turn(self, layer: Layer) -> Iterator[LayerLease | None]:
        """The lease of the first missing layer; None when there is a checkpoint by now, or when the layer is never saved."""
        lease = self._wait_for(layer) if layer.reusable else None
        try:
            yield lease
        finally:
            if lease is not None:
                lease.release()

    def _wait_for(self, layer: Layer) -> LayerLease | None:
        lease = self._acquire(layer)
        if lease is not None or self._is_there(layer):
            return lease
        cloud = self.build.cloud
        with self.build.timings.step(f"wait for layer {layer.name.value} {layer.fingerprint[:12]}") as step:
            holder = holder_of(cloud, self.build.scope, layer.fingerprint, container=self.build.builds_container)
            step.progress(f"{holder or 'another build'} is building it")
            while True:
                cloud.wait.pause(WAIT_POLLS * cloud.profile.poll_interval_s)
                self.build.must_go_on()
                self._must_not_be_broken(layer)
                lease = self._acquire(layer)
                if lease is not None or self._is_there(layer):
                    return lease

    def _must_not_be_broken(self, layer: Layer) -> None:
        broken = self.build.shared.broken_layers.get(layer.fingerprint)
        if broken is not None:
            raise StageError(
                f"layer {layer.name.value}, which several images share, could not be built: {broken.what}",
                stage=broken.stage,
                code=broken.code,
                hint=broken.hint,
            )
