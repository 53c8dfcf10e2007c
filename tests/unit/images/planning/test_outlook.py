"""What happens to layers and images, given what exists already."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from images.errors import BuildError
from images.layer_record import LayerRecord
from images.plan import BuildPlan
from images.planning.change import changed
from images.planning.expected import Expected, expected_of
from images.planning.outlook import ALWAYS_BUILT, CHECKPOINT_GONE, FIRST_BUILD, planned_work
from images.planning.plan_digest import plan_digest
from images.planning.report import outlook_json
from images.planning.work import PlannedWork, VmCount
from images.stages.contract import LayerName
from images.timings import StepTiming
from tests.unit.images.planning.planned import Content, committed, plan_of, records_of

V2, TWIN, OTHER = "windows-2025-gen2", "windows-2025-gen2-tl", "windows-2019-containerd"


def named(name: str) -> BuildPlan:
    return plan_of(committed(name))


def checkpoints(plan: BuildPlan, *layers: str) -> dict[str, str]:
    return {layer.fingerprint: f"ckpt-{layer.name}" for layer in plan.layers if layer.name in layers}


def recorded(*plans: BuildPlan) -> dict[LayerName, list[LayerRecord]]:
    records: dict[LayerName, list[LayerRecord]] = {}
    for plan in plans:
        for record in records_of(plan)[:-1]:
            records.setdefault(record.layer, []).append(record)
    return records


def actions(work: PlannedWork) -> list[str]:
    return [f"{layer.layer} {layer.action}" for layer in work.walk()]


def without_package(content: Content) -> None:
    content["packages"] = content["packages"][1:]


def fewer_packages(content: Content) -> None:
    without_package(content)
    content["name"] = "fewer"


def test_a_first_build_builds_everything_and_says_why() -> None:
    plan = named(V2)
    work = planned_work([plan], {}, {})
    assert actions(work) == ["os build", "runtime build", "images build", "artifacts build", "finish build"]
    assert [layer.reason for layer in work.walk()] == [FIRST_BUILD] * 4 + [ALWAYS_BUILT]
    assert all(layer.since is None and layer.built_for == (V2,) for layer in work.walk())
    assert (work.reused, work.built) == (0, 5)
    assert work.vms == VmCount(build=1, test=1, plain=1)
    assert work.disk_gib == 3 * plan.os_disk_gib
    assert not work.nothing_to_do


def test_the_plain_vm_is_needed_for_its_suite_only() -> None:
    plan = plan_of(committed(V2, lambda content: content.update(e2e_suites=[])))
    assert planned_work([plan], {}, {}).vms == VmCount(build=1, test=1, plain=0)


def test_the_highest_checkpoint_serves_also_when_those_below_were_pruned() -> None:
    work = planned_work([named(V2)], checkpoints(named(V2), "images"), {})
    assert actions(work) == ["os reuse", "runtime reuse", "images reuse", "artifacts build", "finish build"]
    assert [layer.checkpoint for layer in work.walk()] == ["", "", "ckpt-images", "", ""]
    assert (work.reused, work.built) == (3, 2)


def test_a_last_layer_is_never_reused() -> None:
    work = planned_work([named(V2)], checkpoints(named(V2), "artifacts", "finish"), {})
    assert actions(work)[-2:] == ["artifacts reuse", "finish build"]


def test_what_is_built_names_what_changed_and_the_layers_above_it_the_one_below() -> None:
    old = named(V2)
    # The lowest key of the layer: its features.
    new = plan_of(committed(V2, lambda content: content["registry"][0].update(value=77)))
    work = planned_work([new], checkpoints(old, "os", "runtime", "images", "artifacts"), recorded(old))
    os_layer, runtime, images, artifacts, finish = work.walk()
    assert (os_layer.action, os_layer.checkpoint) == ("reuse", "ckpt-os")
    setting = committed(V2).registry[0]
    assert runtime.since is not None and runtime.since.below == ""
    assert isinstance(setting.value, int)
    assert runtime.since.changes == (changed(f"set-registry-setting.settings[{setting.path}\\{setting.name}].value", setting.value, 77),)
    assert (runtime.since.checkpoint, runtime.since.image) == (old.layers[1].fingerprint[:12], V2)
    assert images.since is not None and (images.since.below, images.since.changes) == ("runtime", ())
    assert artifacts.since is not None and artifacts.since.below == "images"
    assert finish.reason == ALWAYS_BUILT and finish.since is None


def test_a_new_base_version_is_no_layer_below() -> None:
    new = plan_of(committed(V2), base_version="26100.9999.991231")
    os_layer, runtime, *_ = planned_work([new], {}, recorded(named(V2))).walk()
    assert os_layer.since is not None and os_layer.since.below == ""
    assert [change.key for change in os_layer.since.changes] == ["base.version"]
    assert runtime.since is not None and runtime.since.below == "os"


def test_a_pruned_checkpoint_is_told_from_a_change() -> None:
    work = planned_work([named(V2)], {}, recorded(named(V2)))
    assert [layer.reason for layer in work.walk()] == [CHECKPOINT_GONE] * 4 + [ALWAYS_BUILT]


def test_a_layer_without_stages_is_neither_built_nor_reused() -> None:
    plan = plan_of(committed(V2, lambda content: content.update(container_images=[])))
    work = planned_work([plan], checkpoints(plan, "runtime"), {})
    assert actions(work) == ["os reuse", "runtime reuse", "images empty", "artifacts build", "finish build"]
    assert (work.reused, work.built) == (2, 2)


def test_twins_build_their_layers_once_and_a_last_layer_each() -> None:
    work = planned_work([named(V2), named(TWIN)], {}, {})
    assert len(work.layers) == 1
    assert [layer.images for layer in work.walk()] == [(V2, TWIN)] * 5
    assert (work.reused, work.built) == (0, 6)
    assert work.vms.total == 6


def test_two_plans_of_one_image_are_refused() -> None:
    with pytest.raises(BuildError, match="same image"):
        planned_work([named(V2), named(V2)], {}, {})


def test_images_part_where_they_differ() -> None:
    fewer = plan_of(committed(V2, fewer_packages))
    work = planned_work([named(V2), fewer, named(OTHER)], checkpoints(named(V2), "artifacts"), {})
    assert [layer.images for layer in work.layers] == [(V2, "fewer"), (OTHER,)]
    images = work.layers[0].children[0].children[0]
    assert [child.images for child in images.children] == [(V2,), ("fewer",)]
    # One image starts above the shared layers; the other finds nothing, and has to make them.
    assert (images.action, images.built_for, images.checkpoint) == ("build", ("fewer",), "")
    mine, others = images.children
    assert (mine.action, mine.checkpoint) == ("reuse", "ckpt-artifacts")
    assert others.built_for == ("fewer",)


def test_a_finished_image_needs_nothing() -> None:
    plan = named(V2)
    work = planned_work([plan], {}, {}, {plan_digest(plan): "26100.1.26110101"})
    assert work.nothing_to_do and work.layers == () and work.disk_gib == 0
    assert work.unchanged == (V2,)
    assert [image.action for image in work.images] == ["nothing to do: 26100.1.26110101"]
    assert expected_of(work, {}) == Expected(layers={}, images={}, minutes=0.0)


def test_a_finished_image_is_no_work_beside_others() -> None:
    work = planned_work([named(V2), named(TWIN)], {}, {}, {plan_digest(named(V2)): "26100.1.26110101"})
    assert [layer.images for layer in work.walk()] == [(TWIN,)] * 5, "a twin is another image"
    assert work.vms == VmCount(build=1, test=1, plain=1)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"minimum_free_gib": 6},
        {"e2e_suites": ["first-boot"]},
        {"base": {**committed(V2).base.model_dump(mode="json"), "trusted_launch": True}},
        {"features": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_image_has_another_plan_digest(change: dict[str, object]) -> None:
    assert plan_digest(plan_of(committed(V2, lambda content: content.update(change)))) != plan_digest(named(V2))


def test_words_change_no_plan_digest() -> None:
    assert plan_digest(plan_of(committed(V2, lambda content: content.update(description="words")))) == plan_digest(named(V2))


def as_bytes(plans: Sequence[BuildPlan], records: dict[LayerName, list[LayerRecord]]) -> bytes:
    work = planned_work(plans, checkpoints(named(V2), "os"), records)
    return json.dumps(outlook_json(work, expected_of(work, {})), indent=2).encode()


def test_the_same_plan_twice_is_the_same_bytes_in_whatever_order_records_come() -> None:
    plans = [plan_of(committed(V2, without_package)), named(OTHER)]
    records = recorded(named(V2), plan_of(committed(V2, lambda content: content.update(features=[]))), named(OTHER))
    first = as_bytes(plans, records)
    for seed in range(5):
        shuffled = {layer: random.Random(seed).sample(of_layer, len(of_layer)) for layer, of_layer in records.items()}
        assert as_bytes(plans, dict(reversed(shuffled.items()))) == first


def step(layer: str, minutes: float, *, start: str, name: str = "stage") -> StepTiming:
    return StepTiming(name=name, layer=layer, start=f"2026-11-01T{start}:00+00:00", seconds=minutes * 60, outcome="built")


PAST = (
    step("os", 10, start="10:00"),
    step("runtime", 2, start="10:10"),
    step("images", 5, start="10:12"),
    step("artifacts", 3, start="10:17"),
    step("finish", 4, start="10:20"),
    step("", 6, start="10:24", name="boot test"),
)


def test_expected_minutes_stand_beside_the_plan_and_not_in_it() -> None:
    work = planned_work([named(V2)], checkpoints(named(V2), "images"), {})
    unknown, known = expected_of(work, {}), expected_of(work, {V2: [PAST]})
    artifacts, finish = named(V2).layers[3:]
    assert unknown == Expected(layers={artifacts.fingerprint: None, finish.fingerprint: None}, images={V2: None}, minutes=None)
    assert known.layers == {artifacts.fingerprint: 3, finish.fingerprint: 4}
    assert known.images == {V2: 13} and known.minutes == 13
    one, other = outlook_json(work, unknown), outlook_json(work, known)
    assert (one["plan"], one["plan_sha256"]) == (other["plan"], other["plan_sha256"])
    assert one["expected"] != other["expected"]
    assert PlannedWork.model_validate(one["plan"]) == work


def test_a_new_image_goes_by_the_builds_of_the_others_and_the_slowest_decides() -> None:
    slow = (step("finish", 8, start="10:20"), step("", 12, start="10:28", name="boot test"))
    work = planned_work([named(V2), named(OTHER)], {**checkpoints(named(V2), "artifacts"), **checkpoints(named(OTHER), "artifacts")}, {})
    found = expected_of(work, {OTHER: [slow]})
    assert found.images == {V2: 20, OTHER: 20}
    found = expected_of(work, {OTHER: [slow], V2: [PAST]})
    assert found.images == {V2: 10, OTHER: 20}
    assert found.minutes == 20
