"""The critical path: what must follow what, and nothing else."""

from __future__ import annotations

import pytest

from images.plan import make_plan
from images.stages.content import ImageToPull, PullImageInput
from infra.local.latency import LatencyProfile
from tests.bench.critical_path import START, Clock, Image, build_path, failed_path, lanes, pull_minutes, several_path
from tests.unit.images.samples import lock_of, rich_definition, scripts

LATENCY = LatencyProfile(
    scale=0,
    minutes={
        "vm.create": 1,
        "guest.specialize": 2,
        "guest.boot": 1,
        "runCommand": 0.5,
        "guest.stage": 0.1,
        "guest.update": 10,
        "guest.servicing": 3,
        "vm.powerOff": 1,
        "snapshot.create": 0.5,
        "vm.start": 0.5,
        "disk.create": 0.2,
        "blob.copy": 5,
        "blob.read": 4,
        "image.create": 2,
    },
)


@pytest.fixture
def image() -> Image:
    definition = rich_definition().model_copy(update={"private_packages": ()})
    lock = lock_of(definition)
    return Image(definition, lock, make_plan(definition, lock, scripts=scripts(), uploads={"NOTICE": "thanks"}))


def reusable(image: Image) -> list[str]:
    return [layer.fingerprint for layer in image.plan.layers if layer.reusable]


def names(path: tuple[tuple[str, float], ...]) -> list[str]:
    return [name for name, _ in path]


def test_an_operation_begins_when_the_last_of_its_needs_is_there() -> None:
    clock = Clock(LATENCY)
    short, long = clock.after([START], "short", 1), clock.after([START], "long", 3)
    both = clock.after([short, long], "then", 2)
    assert both.ends_at == 5
    assert names(both.path) == ["long", "then"]


@pytest.mark.parametrize(("count", "minutes"), [(1, 10), (2, 5), (4, 4), (9, 4)])
def test_items_go_to_the_lane_that_is_free_first(count: int, minutes: float) -> None:
    assert lanes([4, 3, 2, 1], count) == minutes


def test_pulls_transfer_side_by_side_and_unpack_in_turn() -> None:
    latency = LatencyProfile(minutes={"guest.image-transfer": 2, "guest.image-unpack": 3})
    images = tuple(ImageToPull(reference=f"mcr.microsoft.com/part:{number}", digest="sha256:0") for number in range(3))
    assert pull_minutes(latency, PullImageInput(images=images, parallel=3, attempts=1)) == 2 + 3 * 3
    assert pull_minutes(latency, PullImageInput(images=images, parallel=1, attempts=1)) == 3 * (2 + 3)


def test_a_small_image_is_unpacked_while_a_large_one_is_still_on_its_way() -> None:
    latency = LatencyProfile(minutes={"guest.image-transfer": 1, "guest.image-transfer */large": 10, "guest.image-unpack": 1})
    images = tuple(ImageToPull(reference=f"mcr.microsoft.com/{name}", digest="sha256:0") for name in ("large", "a", "b", "c"))
    assert pull_minutes(latency, PullImageInput(images=images, parallel=2, attempts=1)) == 11


def test_a_whole_build_goes_through_every_layer_and_the_boot_test(image: Image) -> None:
    path = build_path(LATENCY, image)
    assert path.ends_at == pytest.approx(sum(minutes for _, minutes in path.path))
    assert [name for name, _ in path.path if name.startswith("vm.create")] == ["vm.create (build VM)", "vm.create (test VM)"]
    assert names(path.path).count("snapshot.create") == len(reusable(image))
    assert "blob.read" not in names(path.path)


def test_a_build_that_resumes_takes_only_what_is_above_its_checkpoint(image: Image) -> None:
    whole, resumed = build_path(LATENCY, image), build_path(LATENCY, image, reusable(image))
    assert names(resumed.path)[0] == "disk.create"
    assert "guest.update" not in names(resumed.path)
    assert "guest.specialize" in names(resumed.path)[names(resumed.path).index("blob.copy") :]
    assert resumed.ends_at < whole.ends_at - 10


def test_a_checkpoint_with_servicing_in_it_passes_it_on(image: Image) -> None:
    os_layer, runtime_layer, *_ = reusable(image)
    from_os = names(build_path(LATENCY, image, [os_layer]).path)
    from_runtime = names(build_path(LATENCY, image, [os_layer, runtime_layer]).path)
    assert from_os.count("guest.servicing") == 1
    assert "guest.servicing" not in from_runtime


def test_a_failure_at_sysprep_costs_everything_before_it_and_a_resumed_build(image: Image) -> None:
    whole, resumed = build_path(LATENCY, image), build_path(LATENCY, image, reusable(image))
    both = failed_path(LATENCY, image)
    assert whole.ends_at < both.ends_at < whole.ends_at + resumed.ends_at


def test_images_that_are_alike_wait_for_the_common_layers_only(image: Image) -> None:
    alone, several = build_path(LATENCY, image), several_path(LATENCY, [image, image])
    assert alone.ends_at <= several.ends_at < alone.ends_at + 5


def test_images_without_anything_in_common_do_not_wait_for_each_other(image: Image) -> None:
    definition = image.definition.model_copy(update={"os_disk_gib": image.definition.os_disk_gib + 1})
    lock = lock_of(definition)
    other = Image(definition, lock, make_plan(definition, lock, scripts=scripts(), uploads={"NOTICE": "thanks"}))
    assert several_path(LATENCY, [image, other]).ends_at == pytest.approx(build_path(LATENCY, image).ends_at)
