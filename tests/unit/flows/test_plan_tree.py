"""What `winvhd plan` prints: the tree, what changed, the minutes, and a closing line."""

from __future__ import annotations

import io

import pytest
from pydantic import JsonValue
from rich.console import Console

from flows.cli.plan_tree import plan_lines
from images.planning.change import Change, added, changed, removed, reordered
from images.planning.expected import Expected
from images.planning.report import outlook_json
from images.planning.work import PlannedImage, PlannedLayer, PlannedWork, Since, VmCount
from images.stages.contract import LayerName

NO_VMS = VmCount(build=0, test=0, plain=0)
DIGESTS = ("1a" * 32, "2b" * 32)


def image(name: str = "one", *, already_built: str = "") -> PlannedImage:
    vms = NO_VMS if already_built else VmCount(build=1, test=1, plain=0)
    return PlannedImage(
        image=name, base="p:o:s:1.2.3", generation="V2", plan_digest=DIGESTS[0], already_built=already_built, vms=vms, disk_gib=60
    )


def layer(
    name: LayerName, action: str = "build", *above: PlannedLayer, images: tuple[str, ...] = ("one",), **fields: object
) -> PlannedLayer:
    content = {
        "layer": name,
        "fingerprint": f"{name.value:0<64}",
        "images": images,
        "action": action,
        "built_for": images if action == "build" else (),
        "reason": "",
        "checkpoint": "",
        "since": None,
        "children": above,
    }
    return PlannedLayer.model_validate(content | fields)


def since(*changes: Change, below: str = "") -> Since:
    return Since(checkpoint="abcdef012345", image="one", recorded_at="2026-11-01T10:00:00+00:00", below=below, changes=changes)


def work(*layers: PlannedLayer, images: tuple[PlannedImage, ...] = (image(),), reused: int = 1, built: int = 1) -> PlannedWork:
    vms = VmCount(**{role: sum(getattr(each.vms, role) for each in images) for role in VmCount.model_fields})
    unchanged = tuple(each.image for each in images if each.already_built)
    return PlannedWork(images=images, unchanged=unchanged, layers=layers, reused=reused, built=built, vms=vms, disk_gib=60)


def printed(planned: PlannedWork, expected: Expected | None = None, *, terminal: bool = False) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, width=300, highlight=False, force_terminal=terminal, _environ={"TERM": "xterm"})
    for line in plan_lines(planned, expected or Expected(layers={}, images={}, minutes=None)):
        console.print(line)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_layers_of_one_image_stand_below_each_other() -> None:
    os_layer = layer(LayerName.OS, "reuse", layer(LayerName.RUNTIME, reason="no checkpoint of this layer yet"), checkpoint="ckpt-os")
    minutes = Expected(layers={f"{'runtime':0<64}": 2.4}, images={"one": 14.4}, minutes=14.4)
    assert printed(work(os_layer), minutes) == [
        "one  from p:o:s:1.2.3 V2",
        "├── os         os0000000000  reuse  ckpt-os",
        "└── runtime    runtime00000  build  about 2 min",
        "    └── no checkpoint of this layer yet",
        "Plan: 1 layer to reuse, 1 to build, about 14 min, 2 VMs (1 build, 1 test) with 60 GiB of disks",
    ]


def test_images_part_where_their_layers_do() -> None:
    both = ("one", "two")
    branches = [layer(LayerName.RUNTIME, images=(name,)) for name in both]
    tree = layer(LayerName.OS, "build", *branches, images=both, built_for=("two",))
    assert printed(work(tree, images=(image(), image("two"))))[:6] == [
        "one, two  from p:o:s:1.2.3 V2",
        "├── os         os0000000000  build  for two",
        "├── one",
        "│   └── runtime    runtime00000  build",
        "└── two",
        "    └── runtime    runtime00000  build",
    ]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (changed("base.version", "20348.1.1", "20348.2.2"), "base.version: 20348.1.1 → 20348.2.2"),
        (changed("scripts.Install-Tool.ps1", *DIGESTS), "scripts.Install-Tool.ps1: 1a1a1a1a1a1a… → 2b2b2b2b2b2b…"),
        (
            changed("images[x].digest", *(f"sha256:{each}" for each in DIGESTS)),
            "images[x].digest: sha256:1a1a1a1a1a1a… → sha256:2b2b2b2b2b2b…",
        ),
        (changed("size_mib", 1, None), "size_mib: 1 → nothing"),
        (changed("blocked", True, False), "blocked: true → false"),
        (changed("name", "", "[bold]x[/]"), 'name: "" → [bold]x[/]'),
        (added("features", "Containers"), "features: +Containers"),
        (removed("features", "Containers"), "features: -Containers"),
        (added("images[x].blobs", {DIGESTS[0]: "", DIGESTS[1]: ""}), "images[x].blobs: +2 entries (1a1a1a1a1a1a…, …)"),
        (changed("layers", [f"sha256:{each}" for each in DIGESTS], None), "layers: 2 entries (sha256:1a1a1a1a1a1a…, …) → nothing"),
        (removed("files", ["x" * 300]), f"files: -1 entry ({'x' * 80}…)"),
        (removed("files", [{"text": "x" * 300}, 2]), "files: -2 entries (1 entry (text), …)"),
        (changed("ports", [80, 443], "überall"), "ports: [80, 443] → überall"),
        (reordered("features"), "features: in another order"),
    ],
    ids=lambda value: value.key if isinstance(value, Change) else "",
)
def test_a_change_is_one_line_with_its_exact_key(change: Change, line: str) -> None:
    lines = printed(work(layer(LayerName.OS, since=since(change))))
    assert lines[2:4] == ["    ├── since checkpoint abcdef012345 (one, 2026-11-01)", f"    └── {line}"]


def test_the_layer_below_is_named_apart_from_the_own_changes() -> None:
    lines = printed(work(layer(LayerName.RUNTIME, since=since(changed("a", 1, 2), below="os"))))
    assert lines[3:5] == ["    ├── the layer below changed: os", "    └── a: 1 → 2"]


def test_a_long_list_of_changes_is_cut_and_counted() -> None:
    lines = printed(work(layer(LayerName.OS, since=since(*(added("files", f"file {number}") for number in range(100))))))
    assert lines[-2] == "    └── … and 80 more; --json lists them all"
    assert len(lines) == 25


def test_the_json_form_has_a_long_value_whole() -> None:
    blobs: JsonValue = {f"{number:064x}": "" for number in range(12)}
    planned = work(layer(LayerName.IMAGES, since=since(added("images[x].blobs", blobs))))
    expected = Expected(layers={}, images={}, minutes=None)
    assert "    └── images[x].blobs: +12 entries (000000000000…, …)" in printed(planned)
    plan = outlook_json(planned, expected)["plan"]
    assert isinstance(plan, dict)
    assert PlannedWork.model_validate(plan).layers[0].since == since(added("images[x].blobs", blobs))


def test_nothing_to_do_starts_no_vm_and_says_so() -> None:
    assert printed(work(images=(image(already_built="1.2.26110101"),), reused=0, built=0)) == [
        "one  nothing to do: 1.2.26110101",
        "Plan: nothing to do, 1 image unchanged, no VM",
    ]


def test_what_was_never_built_takes_an_unknown_time() -> None:
    assert "time unknown until it was built once" in printed(work(layer(LayerName.OS)))[-1]
    quick = Expected(layers={}, images={"one": 0.2}, minutes=0.2)
    assert "less than 1 min" in printed(work(layer(LayerName.OS)), quick)[-1]


def test_reuse_is_green_and_build_is_yellow() -> None:
    lines = printed(work(layer(LayerName.OS, "reuse", layer(LayerName.RUNTIME))), terminal=True)
    assert "\x1b[32mreuse" in lines[1]
    assert "\x1b[33mbuild" in lines[2]
