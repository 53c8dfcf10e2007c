"""Sizes and zones are tried in the profile's order."""

from __future__ import annotations

import pytest

from images.errors import AllocationError, CloudError
from infra.azure.placement import Placement, allocate, placements

SIZES = ("Standard_D8s_v5", "Standard_D8as_v5")


def _refuse(refusals: dict[str, str], tried: list[str]) -> object:
    def attempt(placement: Placement) -> str:
        tried.append(str(placement))
        code = refusals.get(str(placement))
        if code:
            raise AllocationError("refused", code=code, status=409, request_id="r1", hint=f"hint of {code}")
        return str(placement)

    return attempt


def test_a_size_is_tried_in_all_zones_before_the_next_size() -> None:
    assert [str(place) for place in placements(SIZES, ("1", "2"))] == [
        "Standard_D8s_v5 in zone 1",
        "Standard_D8s_v5 in zone 2",
        "Standard_D8as_v5 in zone 1",
        "Standard_D8as_v5 in zone 2",
    ]


def test_without_zones_azure_chooses() -> None:
    assert placements(SIZES, ()) == [Placement(SIZES[0], None), Placement(SIZES[1], None)]


def test_first_accepted_placement_wins() -> None:
    tried: list[str] = []
    events: list[str] = []
    refused = {"Standard_D8s_v5 in zone 1": "ZonalAllocationFailed", "Standard_D8s_v5 in zone 2": "SkuNotAvailable"}
    assert allocate(placements(SIZES, ("1", "2")), _refuse(refused, tried), events.append) == "Standard_D8as_v5 in zone 1"  # type: ignore[arg-type]
    assert tried == ["Standard_D8s_v5 in zone 1", "Standard_D8s_v5 in zone 2", "Standard_D8as_v5 in zone 1"]
    assert events == ["Standard_D8s_v5 in zone 1 refused: ZonalAllocationFailed", "Standard_D8s_v5 in zone 2 refused: SkuNotAvailable"]


def test_exhausted_quota_skips_the_other_zones_of_that_size() -> None:
    tried: list[str] = []
    allocate(placements(SIZES, ("1", "2", "3")), _refuse({"Standard_D8s_v5 in zone 1": "QuotaExceeded"}, tried))  # type: ignore[arg-type]
    assert tried == ["Standard_D8s_v5 in zone 1", "Standard_D8as_v5 in zone 1"]


def test_all_refusals_are_named_with_the_last_hint() -> None:
    refused = {SIZES[0]: "SkuNotAvailable", SIZES[1]: "AllocationFailed"}
    with pytest.raises(AllocationError) as caught:
        allocate(placements(SIZES, ()), _refuse(refused, []))  # type: ignore[arg-type]
    assert "Standard_D8s_v5: SkuNotAvailable; Standard_D8as_v5: AllocationFailed" in str(caught.value)
    assert caught.value.hint == "hint of AllocationFailed"
    assert caught.value.request_id == "r1"


def test_another_refusal_ends_the_search() -> None:
    tried: list[str] = []

    def attempt(placement: Placement) -> str:
        tried.append(str(placement))
        raise CloudError("no rights", code="AuthorizationFailed")

    with pytest.raises(CloudError, match="no rights"):
        allocate(placements(SIZES, ()), attempt)
    assert len(tried) == 1
