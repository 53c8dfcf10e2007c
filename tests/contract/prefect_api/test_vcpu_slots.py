"""The slots of one build: given back beside it, none after its end."""

from __future__ import annotations

import secrets

import pytest

from images.errors import AllocationError, CancelledError
from infra.azure.profile import CloudProfile
from infra.prefect.vcpu_quota import occupied, quota_name
from tasks.vcpu_slots import VcpuSlots


@pytest.fixture
def small(profile: CloudProfile) -> CloudProfile:
    """A cloud with a quota of its own, for one VM."""
    changes = {"location": f"region{secrets.token_hex(4)}", "vcpu_quota": 4, "vm_sizes": ("Standard_D4s_v5",)}
    return profile.model_copy(update=changes)


def _nothing() -> None: ...


def test_a_build_never_waits_for_what_it_has_just_given_back(small: CloudProfile) -> None:
    slots, said = VcpuSlots(small), list[str]()
    for role in ("build", "test", "build"):
        slots.take(role, said.append, _nothing)
        slots.give_back(role)
    slots.give_back_all()
    assert said == []
    with occupied(quota_name(f"{small.name}-{small.location}"), 4, timeout_s=0):
        pass


def test_a_build_that_was_stopped_keeps_nothing(small: CloudProfile) -> None:
    def stopped() -> None:
        raise CancelledError("the build is stopping", hint="the first error says why")

    ended = VcpuSlots(small)
    ended.give_back_all()
    with pytest.raises(CancelledError):
        ended.take("test", pytest.fail, stopped)
    ended.give_back_all()
    other = VcpuSlots(small)
    other.take("build", pytest.fail, _nothing)
    other.give_back_all()


def test_what_a_larger_size_takes_more_is_counted_and_goes_back_with_it(small: CloudProfile) -> None:
    name = quota_name(f"{small.name}-{small.location}")
    roomy = small.model_copy(update={"vcpu_quota": 8})
    slots = VcpuSlots(roomy)
    slots.take("build", pytest.fail, _nothing)
    slots.settle("build", "Standard_D8s_v5", pytest.fail)
    with pytest.raises(AllocationError), occupied(name, 1, timeout_s=0):
        pass
    slots.give_back("build")
    slots.give_back_all()
    with occupied(name, 8, timeout_s=0):
        pass
