"""Each difference between promise, live inventory and captured disk is named, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from images.agreement import GENERALIZE_CHANGES, compare_live_and_offline, compare_with_promise
from images.inventory import (
    CachedFile,
    ContainerImage,
    Defender,
    Feature,
    Inventory,
    Qfe,
    RegistryValue,
    Runtime,
    ScheduledTask,
    Service,
)
from images.plan import make_plan
from images.privacy import MARK_KEY, MARK_VALUE
from infra.checkout import ROOT
from tests.unit.images.notes.parts import images_of, small_inventory
from tests.unit.images.samples import lock_of, rich_definition, scripts, sha256

LIVE = small_inventory()


def _differences(**changes: Any) -> tuple[str, ...]:
    return compare_live_and_offline(LIVE, small_inventory(**changes))


def test_an_image_agrees_with_itself() -> None:
    assert compare_live_and_offline(LIVE, LIVE.model_copy(deep=True)) == ()


def test_what_generalize_and_a_stopped_machine_change_is_no_difference() -> None:
    stopped = tuple(service.model_copy(update={"state": ""}) for service in LIVE.services)
    assert _differences(services=stopped, updates=(), security_protocols="", free_bytes=1, total_bytes=2) == ()


def test_guest_agent_that_generalize_deleted_is_no_difference() -> None:
    agents = tuple(Service(name=name, start_mode="Auto", state="Running") for name in ("RdAgent", "WindowsAzureGuestAgent"))
    live = small_inventory(services=(*LIVE.services, *agents))
    assert compare_live_and_offline(live, LIVE) == ()


@pytest.mark.parametrize("name", ["RdAgent", "WindowsAzureGuestAgent"])
def test_guest_agent_that_generalize_left_behind_is_named(name: str) -> None:
    with_agent = small_inventory(services=(*LIVE.services, Service(name=name, start_mode="Auto")))
    assert compare_live_and_offline(with_agent, with_agent) == (
        f"service {name}: still on the captured disk, though generalize deletes it",
    )


def test_tasks_of_the_build_may_run_but_not_stay() -> None:
    own = small_inventory(scheduled_tasks=(*LIVE.scheduled_tasks, ScheduledTask(path="\\winvhd-install-1")))
    assert compare_live_and_offline(own, LIVE) == ()
    assert compare_live_and_offline(LIVE, own) == (
        "scheduled task \\winvhd-install-1: still on the captured disk, though generalize deletes it",
    )


def test_every_entry_of_the_list_names_a_field_and_says_why() -> None:
    for name, reason in GENERALIZE_CHANGES.items():
        assert name.replace("[", ".").partition(".")[0] in Inventory.model_fields
        assert reason


def test_names_of_windows_agree_in_any_case() -> None:
    assert _differences(cached_files=tuple(file.model_copy(update={"path": file.path.upper()}) for file in LIVE.cached_files)) == ()


def test_tags_of_container_images_are_told_apart_by_case() -> None:
    def tagged(tag: str) -> tuple[ContainerImage, ...]:
        return (ContainerImage(name=f"r.example/a:{tag}", digest=f"sha256:{'1' * 64}"),)

    differences = compare_live_and_offline(small_inventory(container_images=tagged("RC")), small_inventory(container_images=tagged("rc")))
    assert len(differences) == 2


CHANGED: list[tuple[dict[str, Any], str]] = [
    ({"vhd_id": "other"}, "vhd_id"),
    ({"os": LIVE.os.model_copy(update={"ubr": 1})}, "os"),
    ({"defender": Defender(platform_version="1", signature_version="1", signatures_updated="")}, "defender"),
    ({"runtime": None}, "runtime"),
    ({"excluded_udp_ports": ()}, "excluded_udp_ports"),
    ({"capabilities": LIVE.capabilities[:1]}, "capability OpenSSH.Server~~~~0.0.1.0: in the live inventory, not in the captured disk"),
    ({"features": LIVE.features[1:]}, "feature Containers: in the live inventory, not in the captured disk"),
    ({"qfes": (*LIVE.qfes, Qfe(kb="KB1", description="", support_link=""))}, "QFE KB1: in the captured disk, not in the live inventory"),
    ({"registry": LIVE.registry[:-1]}, "registry value HKLM:\\SYSTEM\\CurrentControlSet\\Services\\hns\\State\\B: in the live"),
    (
        {"services": (LIVE.services[0].model_copy(update={"start_mode": "Manual"}), LIVE.services[1])},
        "service containerd: start_mode is 'Auto'",
    ),
    ({"services": LIVE.services[:1]}, "service WinRM: in the live inventory, not in the captured disk"),
    ({"tools": (CachedFile(path="C:\\aks-tools\\x", sha256="1" * 64, size_bytes=1),)}, "tool C:\\aks-tools\\x: in the captured disk"),
    ({"scheduled_tasks": (*LIVE.scheduled_tasks, ScheduledTask(path="\\left"))}, "scheduled task \\left: in the captured disk"),
    (
        {"cached_files": (LIVE.cached_files[0].model_copy(update={"sha256": "b" * 64}),)},
        "cached file c:\\akse-cache\\csi-proxy\\csi-proxy.tar.gz",
    ),
]


@pytest.mark.parametrize(("changes", "wanted"), CHANGED, ids=[next(iter(changes)) for changes, _ in CHANGED])
def test_a_difference_outside_the_list_is_named(changes: dict[str, Any], wanted: str) -> None:
    (difference,) = _differences(**changes)
    assert difference.startswith(wanted)


def test_differences_of_one_thing_come_in_the_order_of_its_fields_in_any_process() -> None:
    program = (
        "from images.agreement import compare_live_and_offline as compare\n"
        "from tests.unit.images.notes.parts import images_of, small_inventory\n"
        "left = small_inventory(container_images=images_of('r.example/a:1', digest='1' * 64, config='2' * 64))\n"
        "image = left.container_images[0].model_copy(update={'digest': 'd', 'media_type': 'm', 'config_digest': 'c', 'size_bytes': 0})\n"
        "print(*compare(left, small_inventory(container_images=(image, *left.container_images[1:]))), sep='\\n')\n"
    )
    seen = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        seen.add(
            subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        )
    (text,) = seen
    assert [line.split(": ")[1].split()[0] for line in text.splitlines()] == ["digest", "media_type", "config_digest", "size_bytes"]


DEFINITION = rich_definition()
LOCK = lock_of(DEFINITION)
PLAN = make_plan(DEFINITION, LOCK, scripts=scripts(), uploads={"NOTICE": "notice"})


def _as_promised(**changes: Any) -> Inventory:
    kept = [
        CachedFile(path=file.path, sha256=file.sha256, size_bytes=1) for file in PLAN.files if not file.path.lower().startswith("c:\\tools")
    ]
    images = [
        image
        for locked in LOCK.container_images
        for image in images_of(locked.reference, digest=locked.digest.removeprefix("sha256:"), config=sha256("config " + locked.reference))
    ]
    fields: dict[str, Any] = {
        "cached_files": tuple(kept),
        "tools": tuple(
            CachedFile(path=file.path, sha256=file.sha256, size_bytes=1) for file in PLAN.files if file.path not in {k.path for k in kept}
        ),
        "container_images": tuple(images),
        "capabilities": DEFINITION.capabilities,
        "features": tuple(Feature(name=name.upper(), display_name=name) for name in DEFINITION.features),
        "qfes": tuple(Qfe(kb=update.kb, description="Update", support_link="") for update in LOCK.updates),
        "registry": (
            RegistryValue(path="HKLM:\\SYSTEM\\CurrentControlSet\\Services\\hns\\State", name="A", type="DWord", value=1),
            RegistryValue(path="HKLM:\\SOFTWARE\\Example", name="B", type="DWord", value=5),
            # The sample has private packages.
            RegistryValue(path=MARK_KEY, name=MARK_VALUE, type="String", value=PLAN.scope),
        ),
        "runtime": Runtime(name="containerd", version="v1.7.20", config_sha256=""),
        "excluded_udp_ports": (65330,),
    }
    return small_inventory(**{**fields, **changes})


def _broken_promises(**changes: Any) -> tuple[str, ...]:
    return compare_with_promise(DEFINITION, LOCK, PLAN, _as_promised(**changes))


def test_an_image_that_is_as_promised_has_no_differences() -> None:
    assert _broken_promises() == ()


def test_flags_that_were_ored_in_may_stand_among_others_but_must_be_there() -> None:
    other = RegistryValue(path="HKLM:\\SOFTWARE\\Example", name="B", type="DWord", value=3)
    (difference,) = _broken_promises(registry=(_as_promised().registry[0], other, _as_promised().registry[2]))
    assert difference == "registry value HKLM:\\SOFTWARE\\Example\\B: 0 on the image, the definition promises 4"


def test_a_missing_registry_value_is_named() -> None:
    (difference,) = _broken_promises(registry=_as_promised().registry[1:])
    assert difference.endswith("State\\A: None on the image, the definition promises 1")


PROMISED = _as_promised()
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"cached_files": PROMISED.cached_files[1:]}, f"cached file {PROMISED.cached_files[0].path}: promised by the lock, not on the image"),
    (
        {"cached_files": (PROMISED.cached_files[0].model_copy(update={"sha256": "0" * 64}), *PROMISED.cached_files[1:])},
        f"cached file {PROMISED.cached_files[0].path}: sha256 is {'0' * 64}, the lock promises {PROMISED.cached_files[0].sha256}",
    ),
    (
        {"cached_files": (*PROMISED.cached_files, CachedFile(path="C:\\cache\\extra", sha256="0" * 64, size_bytes=1))},
        "cached file C:\\cache\\extra: on the image, but nobody asked for it",
    ),
    ({"capabilities": ()}, "capability OpenSSH.Server~~~~0.0.1.0: promised, not on the image"),
    ({"features": PROMISED.features[:1]}, "feature Hyper-V: promised, not on the image"),
    ({"qfes": PROMISED.qfes[:1]}, "QFE KB5120242: promised, not on the image"),
    ({"runtime": None}, "container runtime containerd: promised, not on the image"),
    ({"excluded_udp_ports": (1,)}, "excluded UDP port 65330: promised, not on the image"),
]


@pytest.mark.parametrize(("changes", "wanted"), BROKEN, ids=[next(iter(changes)) for changes, _ in BROKEN])
def test_a_broken_promise_is_named(changes: dict[str, Any], wanted: str) -> None:
    assert _broken_promises(**changes) == (wanted,)


def test_a_checkpoint_that_only_lay_beside_its_target_need_not_be_listed_by_windows() -> None:
    kb = LOCK.updates[0].kb
    beside = tuple(update.model_copy(update={"checkpoint": update.kb == kb}) for update in LOCK.updates)
    without = _as_promised(qfes=tuple(qfe for qfe in PROMISED.qfes if qfe.kb != kb))
    assert compare_with_promise(DEFINITION, LOCK.model_copy(update={"updates": beside}), PLAN, without) == ()


@pytest.mark.parametrize(("build", "wanted"), [(-1, ()), (0, ("QFE KB5120241: promised, not on the image",))])
def test_an_update_that_a_newer_one_replaced_need_not_be_listed_by_windows(build: int, wanted: tuple[str, ...]) -> None:
    os = PROMISED.os
    older = LOCK.updates[0].model_copy(update={"kb": "KB5120241", "build": f"{os.build}.{os.ubr + build}"})
    lock = LOCK.model_copy(update={"updates": (older,)})
    without = _as_promised(qfes=tuple(qfe for qfe in PROMISED.qfes if qfe.kb != "KB5120241"))
    assert compare_with_promise(DEFINITION, lock, PLAN, without) == wanted


def test_an_uploaded_file_in_a_cache_was_asked_for() -> None:
    uploaded = CachedFile(path="c:\\notice.TXT", sha256="0" * 64, size_bytes=1)
    assert _broken_promises(cached_files=(*PROMISED.cached_files, uploaded)) == ()


def test_container_images_must_be_there_under_their_tags_with_the_locked_digest() -> None:
    pause, nano = LOCK.container_images
    of_nano = [image for image in PROMISED.container_images if image.digest == nano.digest]
    moved = images_of(pause.reference, digest="9" * 64, config="8" * 64)
    assert _broken_promises(container_images=tuple(of_nano)) == (
        f"container image {pause.reference}: promised by the lock, not on the image",
    )
    differences = _broken_promises(container_images=(*of_nano, *moved))
    assert differences[0] == f"container image {pause.reference}: digest is sha256:{'9' * 64}, the lock promises {pause.digest}"


def test_container_images_that_nobody_asked_for_are_named_with_every_name_they_have() -> None:
    extra = images_of("r.example/miner:1", digest="9" * 64, config="8" * 64)
    differences = _broken_promises(container_images=(*PROMISED.container_images, *extra))
    assert sorted(differences) == sorted(f"container image {image.name}: on the image, but nobody asked for it" for image in extra)
