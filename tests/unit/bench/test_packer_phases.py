"""The reference does every stage of a plan, in Packer's order and Packer's way."""

from __future__ import annotations

import pytest

from images.plan import BuildPlan, make_plan
from images.stages.content import PullImageInput, SaveFileInput
from tests.bench.packer_phases import packer_input, packer_phases
from tests.unit.images.samples import lock_of, rich_definition, scripts


@pytest.fixture
def plan() -> BuildPlan:
    definition = rich_definition().model_copy(update={"private_packages": ()})
    return make_plan(definition, lock_of(definition), scripts=scripts(), uploads={"NOTICE": "thanks"})


def test_every_stage_of_the_plan_is_in_a_phase_or_comes_after_them(plan: BuildPlan) -> None:
    phases = packer_phases(plan)
    done = {stage.stage for stage in (*phases.phase_1, *phases.phase_2, *phases.phase_3)}
    assert {stage.stage for stage in plan.stages} - done == {"get-inventory", "invoke-generalize"}


def test_winrm_is_delayed_before_the_features_and_at_once_again_after_their_restart(plan: BuildPlan) -> None:
    phases = packer_phases(plan)
    assert [stage.stage for stage in phases.phase_1][-2:] == ["set-winrm-start-mode", "install-feature"]
    assert [stage.input["mode"] for stage in phases.phase_1 if stage.stage == "set-winrm-start-mode"] == ["delayed-auto"]
    assert [stage.input["mode"] for stage in phases.phase_2 if stage.stage == "set-winrm-start-mode"] == ["auto"]


def test_downloads_come_in_turn_from_public_addresses(plan: BuildPlan) -> None:
    (save,) = [stage for stage in packer_phases(plan).phase_2 if stage.stage == "save-cached-file"]
    given = packer_input(save, "", lambda token: f"https://public.example.com/{token.partition(':')[2]}")
    assert isinstance(given, SaveFileInput)
    assert given.parallel == 1
    assert all(file.url.startswith("https://public.example.com/") for file in given.files)


def test_images_come_in_turn_from_their_registry(plan: BuildPlan) -> None:
    (pull,) = [stage for stage in packer_phases(plan).phase_2 if stage.stage == "import-container-image"]
    given = packer_input(pull, "", lambda token: token)
    assert isinstance(given, PullImageInput)
    assert given.parallel == 1
    assert all(not image.blobs for image in given.images)


def test_a_stage_that_packer_would_not_do_is_refused(plan: BuildPlan) -> None:
    stranger = plan.layers[0].stages[0].model_copy(update={"stage": "test-pod-networking"})
    first = plan.layers[0].model_copy(update={"stages": (*plan.layers[0].stages, stranger)})
    with pytest.raises(ValueError, match="test-pod-networking"):
        packer_phases(plan.model_copy(update={"layers": (first, *plan.layers[1:])}))
