"""The vCPUs that the VMs of a build occupy, within the quota that all builds of a profile share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from images.errors import AllocationError, ConfigurationError
from infra.azure.profile import CloudProfile
from infra.azure.vm_request import Role
from infra.azure.vm_size import vcpus_of
from infra.prefect.vcpu_quota import ensure_quota, occupied, quota_name


class VcpuSlots:
    """Slots of one build: taken before a VM is made, given back when its end begins.

    A build never waits for slots while its own build VM holds some, except in a thread of its own for a VM that runs beside: so two builds
    can not wait for each other.
    """

    def __init__(self, profile: CloudProfile | None = None) -> None:
        """Without a profile, or one without a quota, nothing is counted."""
        self._profile = profile
        self._quota = profile.vcpu_quota if profile is not None else None
        # The stand-in's cores are not Azure's, although it says it is in the same region.
        self._name = quota_name(f"{profile.name}-{profile.location}") if profile is not None else ""
        self._is_there = False
        self._lock = threading.Lock()
        self._held: dict[Role, ExitStack] = {}
        self._giving_back: list[threading.Thread] = []

    def take(self, role: Role, on_event: Callable[[str], None], must_go_on: Callable[[], None]) -> None:
        """Wait until the quota has room for one more VM; raises ConfigurationError when it never will, and what `must_go_on` raises."""
        if self._profile is None or self._quota is None:
            return
        # What this build has given back must not be what it waits for.
        self._join()
        # The first size is the one that is nearly always had; `settle` counts what a larger one takes more.
        wanted = vcpus_of(self._profile.vm_sizes[0])
        if not self._is_there:
            ensure_quota(self._name, self._quota)
            self._is_there = True

        def pause(seconds: float) -> None:
            must_go_on()
            time.sleep(seconds)

        stack = ExitStack()
        stack.enter_context(occupied(self._name, wanted, on_event=on_event, poll_s=self._profile.poll_interval_s, pause=pause))
        with self._lock:
            previous, self._held[role] = self._held.get(role), stack
        if previous is not None:
            previous.close()
        try:
            must_go_on()
        except BaseException:
            # All may have been given back before these were taken.
            self.give_back(role)
            raise

    def settle(self, role: Role, size: str, on_event: Callable[[str], None]) -> None:
        """Count what a VM of this size takes more than was taken for it; when the quota has no more, that is only said: the VM is there."""
        if self._profile is None or self._quota is None:
            return
        more = vcpus_of(size) - vcpus_of(self._profile.vm_sizes[0])
        with self._lock:
            stack = self._held.get(role)
        if more <= 0 or stack is None:
            return
        with ExitStack() as additional:
            try:
                additional.enter_context(occupied(self._name, more, 0.0, on_event=on_event))
            except (AllocationError, ConfigurationError) as error:
                on_event(f"a larger VM than planned: {error.what}")
                return
            with self._lock:
                # Those of a VM that has gone meanwhile go back at once.
                if self._held.get(role) is stack:
                    stack.push(additional.pop_all())

    def give_back(self, role: Role) -> None:
        """The VM of this role is gone, or deallocated; returns at once, since the build goes on without its slots."""
        with self._lock:
            stack = self._held.pop(role, None)
            if stack is None:
                return
            thread = threading.Thread(target=stack.close, name=f"give back {role}", daemon=True)
            self._giving_back.append(thread)
            # Under the lock: a thread that has not started can not be joined.
            thread.start()

    def give_back_all(self) -> None:
        """The build has ended; returns when Prefect has been told. One that is stopping must say so to `take` before."""
        for role in list(self._held):
            self.give_back(role)
        self._join()

    def _join(self) -> None:
        with self._lock:
            giving_back = list(self._giving_back)
        for thread in giving_back:
            thread.join()
