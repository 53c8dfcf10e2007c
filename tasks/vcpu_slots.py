"""The vCPUs that the VMs of a build occupy, within the quota that all builds of a profile share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from infra.azure.profile import CloudProfile
from infra.azure.vm_request import Role
from infra.azure.vm_size import vcpus_of
from infra.prefect.vcpu_quota import ensure_quota, occupied, quota_name


class VcpuSlots:
    """Slots of one build: taken before a VM is made, given back once Azure has its cores again.

    A build never waits for slots while its own build VM holds some, except in a thread of its own for a VM that runs beside: so two builds
    can not wait for each other.
    """

    def __init__(self, profile: CloudProfile | None = None) -> None:
        """Without a profile, or one without a quota, nothing is counted."""
        self._profile = profile
        self._quota = profile.vcpu_quota if profile is not None else None
        self._lock = threading.Lock()
        self._held: dict[Role, ExitStack] = {}

    def take(self, role: Role, on_event: Callable[[str], None], must_go_on: Callable[[], None]) -> None:
        """Wait until the quota has room for one more VM; raises ConfigurationError when it never will, and what `must_go_on` raises."""
        if self._profile is None or self._quota is None:
            return
        # Which size Azure has room for is known only later: the largest counts.
        wanted = max(vcpus_of(size) for size in self._profile.vm_sizes)
        # The stand-in's cores are not Azure's, although it says it is in the same region.
        name = quota_name(f"{self._profile.name}-{self._profile.location}")
        ensure_quota(name, self._quota)

        def pause(seconds: float) -> None:
            must_go_on()
            time.sleep(seconds)

        stack = ExitStack()
        stack.enter_context(occupied(name, wanted, on_event=on_event, poll_s=self._profile.poll_interval_s, pause=pause))
        with self._lock:
            previous, self._held[role] = self._held.get(role), stack
        if previous is not None:
            previous.close()

    def give_back(self, role: Role) -> None:
        """The VM of this role is gone, or deallocated."""
        with self._lock:
            stack = self._held.pop(role, None)
        if stack is not None:
            stack.close()

    def give_back_all(self) -> None:
        """The build has ended."""
        for role in list(self._held):
            self.give_back(role)
