"""What a plan does, and what its fingerprints depend on."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import JsonValue

from images.definition import ImageDefinition
from images.errors import BuildError, ConfigurationError, UnresolvedLockError
from images.fingerprint import digest, layer_fingerprint, root_facts, script_digests
from images.loading import definition_digest, definition_names, find_definition, load_definition, read_uploads
from images.lock import LockedBlob
from images.plan import BuildPlan, make_plan
from images.planning.tree import plan_tree
from images.stages.content import PullImageInput
from images.stages.contract import LayerName
from images.steps import RELEASE_NOTES_PATH
from tests.unit.images.samples import lock_of, rich_definition, scripts, sha256

UPLOADS = {"NOTICE": "thanks"}
PUBLIC_LAYERS = [name for name in LayerName if name is not LayerName.FIX]
"""The layers of a plan without a private fix."""


def plan_of(definition: ImageDefinition, **lock_changes: Any) -> BuildPlan:
    return make_plan(definition, lock_of(definition, **lock_changes), scripts=scripts(), uploads=UPLOADS)


def with_fields(**changes: Any) -> ImageDefinition:
    return ImageDefinition.model_validate({**rich_definition().model_dump(mode="json"), **changes})


def prints(plan: BuildPlan) -> dict[str, str]:
    return {layer.name.value: layer.fingerprint for layer in plan.layers}


def changed_layers(one: BuildPlan, other: BuildPlan) -> list[str]:
    before, after = prints(one), prints(other)
    return [name for name in before if before[name] != after[name]]


def stage_names(plan: BuildPlan, layer: LayerName) -> list[str]:
    return [stage.stage for each in plan.layers if each.name is layer for stage in each.stages]


def test_stages_come_in_the_order_that_windows_needs() -> None:
    plan = plan_of(rich_definition())
    assert [layer.name for layer in plan.layers] == PUBLIC_LAYERS
    assert stage_names(plan, LayerName.OS) == [
        "expand-os-partition",
        "set-windows-update-policy",
        "set-tls-protocol",
        "add-udp-port-exclusion",
        "set-pagefile",
        "install-capability",
        "set-openssh-server",
        "install-update",
        "clear-component-store",
        "set-winrm-start-mode",
        "install-feature",
    ]
    assert stage_names(plan, LayerName.RUNTIME) == ["set-winrm-start-mode", "install-containerd", "set-registry-setting"]
    assert stage_names(plan, LayerName.IMAGES) == ["import-container-image"]
    assert stage_names(plan, LayerName.ARTIFACTS) == ["save-cached-file", "save-cached-file", "install-tool", "set-text-file"]
    assert stage_names(plan, LayerName.FINISH) == [
        "register-expand-volume-task",
        "update-defender",
        "set-windows-update-policy",
        "set-tls-protocol",
        "set-registry-setting",
        "set-registry-setting",
        "set-vhd-identity",
        "clear-build-leftover",
        "test-free-space",
        "get-inventory",
        "set-text-file",
        "invoke-generalize",
    ]


def test_winrm_is_delayed_before_the_features_reboot_and_automatic_after_it() -> None:
    os_layer, runtime, *_ = plan_of(rich_definition()).layers
    names = [(stage.stage, stage.input.get("mode"), stage.restart_after) for stage in (*os_layer.stages[-2:], runtime.stages[0])]
    assert names == [
        ("set-winrm-start-mode", "delayed-auto", False),
        ("install-feature", None, True),
        ("set-winrm-start-mode", "auto", False),
    ]


def test_settings_are_applied_twice_and_only_the_first_time_with_a_restart() -> None:
    plan = plan_of(with_fields(private_packages=[]))
    both = [stage for stage in plan.stages if stage.stage == "set-registry-setting"]
    assert [stage.restart_after for stage in both] == [True, False]
    assert both[0].input == both[1].input


@pytest.mark.parametrize(("build", "installers"), [("20348", ["wusa", "dism"]), ("17763", ["wusa", "dism"]), ("26100", ["dism", "dism"])])
def test_the_installer_depends_on_the_build_and_the_file(build: str, installers: list[str]) -> None:
    plan = plan_of(rich_definition(), base_version=f"{build}.1.260101")
    update = next(stage for stage in plan.stages if stage.stage == "install-update")
    updates: Any = update.input["updates"]
    assert [each["installer"] for each in updates] == installers
    assert update.input["promised_build"] == "20348.5600"
    assert update.restart_after


def test_the_newest_promised_build_is_compared_as_numbers() -> None:
    updates = [
        {"kb": "KB5120241", "url": "https://updates.example/a.msu", "build": "20348.1006"},
        {"kb": "KB5120242", "url": "https://updates.example/b.msu", "build": "20348.999"},
    ]
    plan = plan_of(with_fields(updates=updates), base_version="20348.1.260101")
    update = next(stage for stage in plan.stages if stage.stage == "install-update")
    assert update.input["promised_build"] == "20348.1006"


def test_an_update_without_a_file_is_left_to_the_windows_update_agent() -> None:
    plan = plan_of(with_fields(updates=[{"kb": "KB5120241"}]))
    (update,) = [stage for stage in plan.stages if "updates" in stage.input]
    assert (update.stage, update.restart_after) == ("install-agent-update", True)
    assert update.input["updates"] == [{"kb": "KB5120241", "build": None}]


def test_plans_hold_tokens_and_no_address() -> None:
    plan = plan_of(rich_definition())
    text = plan.model_dump_json()
    assert "https://" not in text.replace("https://github", "")
    public, private = (stage for stage in plan.stages if stage.stage == "save-cached-file")
    assert public.tokens[0] == f"cache:{sha256('https://files.example/v1.30.1-1int.zip')}"
    assert private.tokens == ("secret:the-fix",)


def test_a_stage_is_completed_with_the_values_of_the_run() -> None:
    plan = plan_of(rich_definition())
    _, private = (stage for stage in plan.stages if stage.stage == "save-cached-file")
    assert private.input_at_run_time == ("files.0.size_bytes",)
    complete = private.complete({"files.0.size_bytes": 7}, lambda token: f"https://blob/{token}?sas").model_dump(mode="json")
    assert complete["files"] == [
        {"url": "https://blob/secret:the-fix?sas", "path": "C:\\cache\\fix.zip", "sha256": "a" * 64, "size_bytes": 7}
    ]
    assert "size_bytes" not in str(private.input), "completing must not change the plan"


def test_the_release_notes_arrive_at_run_time() -> None:
    *_, notes, _ = plan_of(rich_definition()).stages
    assert notes.complete({"text": "hello"}).model_dump() == {"path": RELEASE_NOTES_PATH, "text": "hello"}


@pytest.mark.parametrize("values", [{}, {"text": "a", "path": "b"}])
def test_a_run_must_give_exactly_the_fields_that_are_open(values: dict[str, JsonValue]) -> None:
    *_, notes, _ = plan_of(rich_definition()).stages
    with pytest.raises(BuildError, match="set-text-file"):
        notes.complete(values)


def test_the_runtime_uses_the_place_of_the_package_with_its_url() -> None:
    runtime = rich_definition().container_runtime
    assert runtime is not None
    package = {"url": runtime.url, "destination": "C:\\cache\\containerd", "file_name": "ctd.tgz"}
    archives: list[Any] = [
        next(stage.input["archive"] for stage in plan_of(definition).stages if stage.stage == "install-containerd")
        for definition in (rich_definition(), with_fields(packages=[package]))
    ]
    assert [archive["path"] for archive in archives] == [
        "C:\\akse-cache\\containerd\\containerd-v1.7.20.tar.gz",
        "C:\\cache\\containerd\\ctd.tgz",
    ]


def test_a_plan_lists_the_files_that_must_be_on_the_image() -> None:
    assert [file.path for file in plan_of(rich_definition()).files] == [
        "C:\\cache\\fix.zip",
        "C:\\cache\\k8s\\v1.30.1-1int.zip",
        "C:\\cache\\k8s\\v1.9.0-1int.zip",
        "C:\\cache\\provider-1.30.zip",
        "C:\\cache\\wcn\\wcn.zip",
    ]


def test_the_inventory_looks_at_caches_tools_and_the_keys_that_are_set() -> None:
    inventory = next(stage for stage in plan_of(rich_definition()).stages if stage.stage == "get-inventory").input
    assert inventory["cache_roots"] == ["C:\\akse-cache", "C:\\cache"]
    assert inventory["tool_roots"] == ["C:\\tools"]
    paths: Any = inventory["registry_paths"]
    assert "HKLM:\\SOFTWARE\\Example" in paths
    assert any("SCHANNEL" in path for path in paths)


def test_an_inventory_does_not_walk_windows_own_folders() -> None:
    package = {"url": "https://files.example/a.zip", "destination": "C:\\ProgramData\\cache\\a"}
    definition = with_fields(packages=[package], oci_artifacts=[], private_packages=[], container_runtime=None)
    inventory = next(stage for stage in plan_of(definition).stages if stage.stage == "get-inventory").input
    assert inventory["cache_roots"] == ["C:\\ProgramData\\cache\\a"]


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"os_disk_gib": 41}, "os"),
    ({"features": ["Containers"]}, "os"),
    ({"capabilities": []}, "os"),
    ({"updates": []}, "os"),
    ({"system": {"pagefile_mib": 1}}, "os"),
    ({"container_runtime": {"version": "1.7.21", "url": "https://files.example/containerd-v1.7.20.tar.gz"}}, "runtime"),
    ({"registry": []}, "runtime"),
    ({"container_images": []}, "images"),
    ({"packages": []}, "artifacts"),
    ({"oci_artifacts": []}, "artifacts"),
    ({"private_packages": []}, "artifacts"),
    ({"files": []}, "artifacts"),
    ({"defender": None}, "finish"),
    ({"expand_volume_task": False}, "finish"),
    ({"minimum_free_gib": 6}, "finish"),
]


@pytest.mark.parametrize(("change", "first"), CHANGES, ids=lambda value: next(iter(value)) if isinstance(value, dict) else value)
def test_a_changed_field_rebuilds_its_layer_and_the_later_ones_only(change: dict[str, Any], first: str) -> None:
    order = [name.value for name in PUBLIC_LAYERS]
    assert changed_layers(plan_of(rich_definition()), plan_of(with_fields(**change))) == order[order.index(first) :]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"description": "other words"},
        {"e2e_suites": []},
        {"registry": [{**setting.model_dump(mode="json"), "comment": "other"} for setting in rich_definition().registry]},
        {
            "private_packages": [
                {**package.model_dump(mode="json"), "secret": "renamed-block"} for package in rich_definition().private_packages
            ]
        },
    ],
    ids=["name", "description", "e2e_suites", "comment", "secret-name"],
)
def test_words_for_people_and_names_of_secrets_rebuild_nothing(change: dict[str, Any]) -> None:
    assert changed_layers(plan_of(rich_definition()), plan_of(with_fields(**change))) == []


def test_every_locked_byte_counts() -> None:
    definition = rich_definition()
    lock = lock_of(definition)
    files = tuple(file.model_copy(update={"sha256": "b" * 64}) if "tool" in file.url else file for file in lock.files)
    images = tuple(image.model_copy(update={"digest": f"sha256:{'c' * 64}"}) for image in lock.container_images)
    assert changed_layers(plan_of(definition), plan_of(definition, files=files)) == ["artifacts", "finish"]
    assert changed_layers(plan_of(definition), plan_of(definition, container_images=images)) == ["images", "artifacts", "finish"]
    assert changed_layers(plan_of(definition), plan_of(definition, base_version="20348.1.260101")) == [name.value for name in PUBLIC_LAYERS]


def test_layers_of_an_image_are_planned_for_the_cache_and_follow_from_its_digest() -> None:
    definition = rich_definition()
    older = lock_of(definition)
    blob = LockedBlob(sha256="d" * 64, size_bytes=5)
    images = tuple(image.model_copy(update={"blobs": (blob,)}) for image in older.container_images)
    plan = plan_of(definition, container_images=images)
    (stage,) = (stage for stage in plan.stages if stage.stage == "import-container-image")
    assert stage.tokens == (f"cache:{blob.sha256}",)
    assert changed_layers(plan_of(definition), plan) == []
    completed = stage.complete(url_of=lambda token: f"https://cache.example/{token}?sig=hush")
    assert [image.blobs for image in PullImageInput.model_validate(completed.model_dump()).images] == [
        {blob.sha256: f"https://cache.example/cache:{blob.sha256}?sig=hush"} for _ in images
    ]


def test_a_changed_script_rebuilds_its_layer_and_later_ones_and_the_module_all() -> None:
    definition = rich_definition()
    lock = lock_of(definition)

    def changed(script: str) -> list[str]:
        edited = {**scripts(), script: b"edited"}
        return changed_layers(plan_of(definition), make_plan(definition, lock, scripts=edited, uploads=UPLOADS))

    assert changed("Import-ContainerImage.ps1") == ["images", "artifacts", "finish"]
    assert changed("WinVhd.psm1") == [name.value for name in PUBLIC_LAYERS]
    assert changed("Test-NodeBootstrap.ps1") == []


def test_a_changed_upload_rebuilds_the_artifacts() -> None:
    definition = rich_definition()
    other = make_plan(definition, lock_of(definition), scripts=scripts(), uploads={"NOTICE": "more thanks"})
    assert changed_layers(plan_of(definition), other) == ["artifacts", "finish"]


def test_a_missing_script_is_named() -> None:
    definition = rich_definition()
    with pytest.raises(ConfigurationError, match=r"Add-UdpPortExclusion\.ps1"):
        make_plan(definition, lock_of(definition), scripts={"Expand-OsPartition.ps1": b""}, uploads=UPLOADS)


def test_a_lock_of_another_state_of_the_definition_is_refused() -> None:
    with pytest.raises(UnresolvedLockError, match="as it was when it was locked") as caught:
        make_plan(with_fields(os_disk_gib=50), lock_of(rich_definition()), scripts=scripts(), uploads=UPLOADS)
    assert "winvhd lock sample" in caught.value.hint


def test_unresolved_hashes_stop_a_plan_and_are_named() -> None:
    definition = rich_definition()
    files = tuple(file.model_copy(update={"sha256": "unresolved"}) for file in lock_of(definition).files)
    with pytest.raises(UnresolvedLockError, match=r"no hash yet for https://files\.example/containerd"):
        plan_of(definition, files=files)


def test_a_file_that_the_lock_lacks_is_named() -> None:
    with pytest.raises(UnresolvedLockError, match=r"does not know https://files\.example/tool\.zip"):
        plan_of(rich_definition(), files=tuple(file for file in lock_of(rich_definition()).files if "tool" not in file.url))


def test_a_promised_hash_and_the_lock_must_agree() -> None:
    package = {"url": "https://files.example/a.zip", "destination": "C:\\cache\\", "sha256": "d" * 64}
    with pytest.raises(UnresolvedLockError, match="the definition promises"):
        plan_of(with_fields(packages=[package]))


@pytest.mark.parametrize("title", ["..\\evil.exe", "a/b", "..", "", "C:evil"])
def test_an_artifacts_titles_can_not_lead_out_of_its_folder(title: str) -> None:
    definition = rich_definition()
    artifact = lock_of(definition).oci_artifacts[0]
    bad = artifact.model_copy(update={"files": (artifact.files[0].model_copy(update={"title": title}),)})
    with pytest.raises(UnresolvedLockError, match="unusable name"):
        plan_of(definition, oci_artifacts=(bad,))


def committed_plan(name: str) -> BuildPlan:
    definition = load_definition(find_definition(name))
    return make_plan(definition, lock_of(definition), scripts=scripts(), uploads=read_uploads(definition))


def test_every_committed_definition_can_be_planned() -> None:
    for name in definition_names():
        plan = committed_plan(name)
        assert BuildPlan.model_validate_json(plan.model_dump_json()) == plan
        assert len({layer.fingerprint for layer in plan.layers}) == len(PUBLIC_LAYERS)


def test_a_trusted_launch_twin_shares_everything_and_v1_shares_nothing_with_v2() -> None:
    v1, v2, twin = (prints(committed_plan(name)) for name in ("windows-2025", "windows-2025-gen2", "windows-2025-gen2-tl"))
    assert v2 == twin
    assert not set(v1.values()) & set(v2.values())


def test_images_with_a_common_prefix_share_its_layers_in_the_tree() -> None:
    fewer = with_fields(name="fewer", packages=[])
    other = with_fields(name="other", base={**rich_definition().base.model_dump(mode="json"), "version": "20348.1.1"})
    tree = plan_tree([plan_of(rich_definition()), plan_of(fewer), plan_of(other)])
    assert [node.images for node in tree] == [("sample", "fewer"), ("other",)]
    images_layer = tree[0].children[0].children[0]
    assert images_layer.layer is LayerName.IMAGES
    assert [child.images for child in images_layer.children] == [("sample",), ("fewer",)]


def test_the_layers_after_a_checkpoint_are_what_is_left_to_build() -> None:
    plan = plan_of(rich_definition())
    assert plan.after(None) == plan.layers
    assert plan.after("0" * 64) == plan.layers
    assert [layer.name.value for layer in plan.after(plan.layers[1].fingerprint)] == ["images", "artifacts", "finish"]
    assert [layer.reusable for layer in plan.layers] == [True, True, True, True, False]


def test_only_private_packages_make_a_plan_private() -> None:
    assert plan_of(rich_definition()).private
    assert not plan_of(with_fields(private_packages=[])).private


def test_the_digest_of_a_definition_ignores_comments() -> None:
    quiet = with_fields(registry=[{**s.model_dump(mode="json"), "comment": ""} for s in rich_definition().registry], description="")
    assert definition_digest(quiet) == definition_digest(rich_definition())
    assert definition_digest(with_fields(os_disk_gib=41)) != definition_digest(rich_definition())


def test_layers_say_what_they_stand_on() -> None:
    plan = plan_of(rich_definition())
    assert plan.root_fingerprint == digest(plan.root)
    assert plan.root["version"] == plan.base.version
    assert [layer.parent for layer in plan.layers] == [plan.root_fingerprint, *(layer.fingerprint for layer in plan.layers[:-1])]
    images = next(layer for layer in plan.layers if layer.name is LayerName.IMAGES)
    assert images.scripts == {
        name: sha256(text) for name, text in (("Import-ContainerImage.ps1", "Import-ContainerImage.ps1"), ("WinVhd.psm1", "module"))
    }


def test_fingerprints_are_those_of_the_first_release() -> None:
    # Another value makes every checkpoint that exists useless: that takes a new FINGERPRINT_SCHEMA, and a reason.
    base = rich_definition().base.model_copy(update={"sku": "2022-Datacenter-g2"})
    root = digest(root_facts(base, "20348.1.260101", 40))
    assert root == "592119575f68f02ac58e29b3087d075102c7c432d4109e8542356c6bf6517b03"
    file: dict[str, JsonValue] = {"url": f"cache:{'a' * 64}", "path": "C:\\a.zip", "sha256": "a" * 64, "size_bytes": 1}
    used = script_digests({"Save-CachedFile.ps1": b"script", "WinVhd.psm1": b"module", "Other.ps1": b"x"}, ["Save-CachedFile.ps1"])
    layer = layer_fingerprint(root, LayerName.ARTIFACTS, [("save-cached-file", {"files": [file], "parallel": 8}, True)], used)
    assert layer == "d93708f058fa19e58db204f7723828a8dd5e18c7e9a99b5a32eea3e8b87c4420"
