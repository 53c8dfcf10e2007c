"""A private plan: the public one with a layer more, and a mark inside the image."""

from __future__ import annotations

from typing import Any

import pytest

from images.agreement import compare_with_promise
from images.definition import ImageDefinition
from images.inventory import RegistryValue
from images.plan import BuildPlan, make_plan
from images.privacy import MARK_KEY, private_scope
from images.private_fix import PrivateFix
from images.stages.contract import LayerName
from tests.unit.images.notes.parts import small_inventory
from tests.unit.images.samples import lock_of, rich_definition, scripts

DIGITS = "3f0c9a1b22d4"
SCOPE = private_scope("validation-7")


def definition(**changes: Any) -> ImageDefinition:
    return ImageDefinition.model_validate({**rich_definition().model_dump(mode="json"), "private_packages": [], **changes})


def fix(**changes: Any) -> PrivateFix:
    return PrivateFix.model_validate({"sha256": DIGITS + "0" * 52, "kind": "msu", "block": "the-block", **changes})


def plan_of(patch: PrivateFix | None = None, scope: str = "public", version: str = "20348.5499.260809", **changes: Any) -> BuildPlan:
    wanted = definition(**changes)
    lock = lock_of(wanted, base_version=version)
    return make_plan(wanted, lock, scripts=scripts(), uploads={"NOTICE": "thanks"}, fix=patch, scope=scope)


def prints(plan: BuildPlan) -> dict[LayerName, str]:
    return {layer.name: layer.fingerprint for layer in plan.layers}


def layer_stages(plan: BuildPlan, name: LayerName) -> list[tuple[str, bool]]:
    return [(stage.stage, stage.restart_after) for layer in plan.layers if layer.name is name for stage in layer.stages]


def test_baseline_and_patched_image_share_every_public_layer() -> None:
    public, baseline, patched = prints(plan_of()), prints(plan_of(scope=SCOPE)), prints(plan_of(fix(), SCOPE))
    for name in (LayerName.OS, LayerName.RUNTIME, LayerName.IMAGES, LayerName.ARTIFACTS):
        assert public[name] == baseline[name] == patched[name]
    assert list(patched) == list(LayerName)
    assert LayerName.FIX not in baseline
    assert len({public[LayerName.FINISH], baseline[LayerName.FINISH], patched[LayerName.FINISH]}) == 3


def test_the_fix_is_marked_installed_restarted_and_checked() -> None:
    assert layer_stages(plan_of(fix(), SCOPE), LayerName.FIX) == [
        ("set-registry-setting", False),
        ("install-private-fix", True),
        ("confirm-private-fix", False),
    ]


def test_what_switches_a_fix_on_is_set_before_the_restart_and_again_at_the_end() -> None:
    switch = {"path": r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State", "name": "A", "value": 0, "comment": "the secret reason"}
    plan = plan_of(fix(registry=[switch]), SCOPE)
    assert layer_stages(plan, LayerName.FIX) == [
        ("set-registry-setting", False),
        ("install-private-fix", False),
        ("set-registry-setting", True),
        ("confirm-private-fix", False),
    ]
    finish = next(layer for layer in plan.layers if layer.name is LayerName.FINISH)
    settings: list[Any] = [stage.input["settings"] for stage in finish.stages if stage.stage == "set-registry-setting"]
    assert [[each["name"] for each in group] for group in settings] == [["A", "B"], ["A"], ["Scope"]]
    assert "secret reason" not in "".join(stage.model_dump_json() for stage in plan.stages)


def test_every_private_image_is_marked_and_no_public_one() -> None:
    def mark(plan: BuildPlan) -> list[str]:
        found: list[Any] = [stage.input.get("settings", []) for stage in plan.stages]
        return [setting["value"] for group in found for setting in group if setting["path"] == MARK_KEY]

    assert mark(plan_of()) == []
    assert mark(plan_of(scope=SCOPE)) == [SCOPE]
    assert mark(plan_of(fix(), SCOPE)) == [SCOPE, SCOPE]
    assert mark(plan_of(private_packages=rich_definition().model_dump(mode="json")["private_packages"])) == ["private"]


@pytest.mark.parametrize(
    ("plan", "private", "scope"),
    [
        (plan_of(), False, "public"),
        (plan_of(scope=SCOPE), True, SCOPE),
        (plan_of(fix(), SCOPE), True, SCOPE),
        (plan_of(fix()), True, f"private-{DIGITS}"),
    ],
    ids=["public", "baseline", "patched", "a fix alone"],
)
def test_a_plan_says_whether_it_is_private(plan: BuildPlan, private: bool, scope: str) -> None:
    assert (plan.private, plan.scope) == (private, scope)
    again = BuildPlan.model_validate_json(plan.model_dump_json())
    assert again == plan


def test_the_plan_names_the_block_as_a_token_and_no_address() -> None:
    plan = plan_of(fix(), SCOPE)
    install = next(stage for stage in plan.stages if stage.stage == "install-private-fix")
    assert install.tokens == ("fix:the-block",)
    assert install.input["url"] == "fix:the-block"
    assert "https://" not in plan.model_dump_json(exclude={"base"})


def test_another_block_is_the_same_fix_and_another_hash_another_one() -> None:
    assert prints(plan_of(fix(), SCOPE)) == prints(plan_of(fix(block="another-block"), SCOPE))
    before, after = prints(plan_of(fix(), SCOPE)), prints(plan_of(fix(sha256="4" * 64), SCOPE))
    assert before[LayerName.FIX] != after[LayerName.FIX]
    assert before[LayerName.ARTIFACTS] == after[LayerName.ARTIFACTS]


@pytest.mark.parametrize(
    ("kind", "version", "installer"),
    [
        ("msu", "20348.5499.260809", "wusa"),
        ("msu", "26100.33296.260809", "dism"),
        ("cab", "20348.5499.260809", "dism"),
        ("exe", "20348.5499.260809", "none"),
        ("zip", "20348.5499.260809", "none"),
    ],
)
def test_the_installer_follows_from_kind_and_build(kind: str, version: str, installer: str) -> None:
    install = next(stage for stage in plan_of(fix(kind=kind), SCOPE, version).stages if stage.stage == "install-private-fix")
    assert install.input["installer"] == installer


def promise(plan: BuildPlan, *values: RegistryValue, **changes: Any) -> list[str]:
    wanted = definition(**changes)
    inventory = small_inventory().model_copy(update={"registry": values})
    lines = compare_with_promise(wanted, lock_of(wanted), plan, inventory)
    return [line for line in lines if line.startswith(("registry value", "the mark", "QFE"))]


def value(name: str, data: int | str, path: str) -> RegistryValue:
    return RegistryValue(path=path, name=name, type="REG_DWORD" if isinstance(data, int) else "REG_SZ", value=data)


def test_a_private_image_without_its_mark_is_not_what_was_promised() -> None:
    plan = plan_of(scope=SCOPE, registry=[])
    missing = "the mark of private work: promised, not on the image"
    assert missing in promise(plan, registry=[])
    assert missing in promise(plan, value("Scope", "private-other", MARK_KEY), registry=[])
    assert missing not in promise(plan, value("Scope", SCOPE, MARK_KEY), registry=[])
    assert missing not in promise(plan_of(registry=[]), registry=[])


def test_the_promise_of_a_patched_image_is_the_value_that_the_fix_sets() -> None:
    path = r"HKLM:\SOFTWARE\Example"
    changes: dict[str, Any] = {"registry": [{"path": path, "name": "A", "value": 1}], "updates": []}
    plan = plan_of(fix(registry=[{"path": path, "name": "a", "value": 0}]), SCOPE, **changes)
    mark = value("Scope", SCOPE, MARK_KEY)
    assert promise(plan, mark, value("A", 0, path), **changes) == []
    assert "promises 0" in promise(plan, mark, value("A", 1, path), **changes)[0]


@pytest.mark.parametrize(("kind", "missing"), [("msu", False), ("exe", False), ("zip", True)])
def test_a_private_update_may_supersede_the_updates_of_the_lock(kind: str, missing: bool) -> None:
    changes: dict[str, Any] = {"registry": [], "updates": [{"kb": "KB5999001", "url": "https://updates.example/a.msu"}]}
    lines = promise(plan_of(fix(kind=kind), SCOPE, **changes), value("Scope", SCOPE, MARK_KEY), **changes)
    assert any("KB5999001" in line for line in lines) is missing
