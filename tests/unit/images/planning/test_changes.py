"""What a plan says has changed, on the committed definitions."""

from __future__ import annotations

from typing import Any

from images.layer_record import LayerRecord, RecordedStage
from images.lock import LockedContainerImage
from images.plan import BuildPlan
from images.planning.change import Change, added, changed, removed, reordered
from images.planning.changes import changes, nearest
from tests.unit.images.planning.planned import WHEN, Content, changes_between, committed, plan_of, prints_of, records_of
from tests.unit.images.samples import lock_of, scripts, sha256

IMAGE = "windows-2022-containerd-gen2"


def changes_of(change: Any, **lock_changes: Any) -> dict[str, list[Change]]:
    return changes_between(plan_of(committed(IMAGE)), plan_of(committed(IMAGE, change), **lock_changes))


def move_package(content: Content, old: str, new: str) -> None:
    package = next(package for package in content["packages"] if old in package["url"])
    package["url"] = package["url"].replace(old, new)
    if package["kubernetes_version"] == old:
        package["kubernetes_version"] = new


def test_one_package_of_another_version_is_one_line_with_its_file_names() -> None:
    files = [package["url"].rsplit("/", 1)[-1] for package in committed(IMAGE).model_dump(mode="json")["packages"]]
    old = next(name for name in files if "csi-proxy" in name)
    version = old.split("-v")[1].split(".tar")[0].split("-")[0]
    found = changes_of(lambda content: move_package(content, f"csi-proxy-v{version}", "csi-proxy-v9.8.7"))
    (only,) = found.pop("artifacts")
    assert not found
    assert only.kind == "changed" and only.key == "save-cached-file.files"
    assert str(only.old).endswith(old)
    assert str(only.new).endswith(old.replace(version, "9.8.7"))


def test_a_new_patch_release_is_paired_with_its_own_minor() -> None:
    def cached(*versions: str) -> BuildPlan:
        packages = [{"url": f"https://files.example/v{version}-1int.zip", "destination": "C:\\cache\\"} for version in versions]
        return plan_of(committed(IMAGE, lambda content: content.update(packages=packages)))

    found = changes_between(cached("1.33.9", "1.34.9"), cached("1.32.1", "1.33.9", "1.34.10"))
    assert found["artifacts"] == [
        added("save-cached-file.files", "C:\\cache\\v1.32.1-1int.zip"),
        changed("save-cached-file.files", "C:\\cache\\v1.34.9-1int.zip", "C:\\cache\\v1.34.10-1int.zip"),
    ]


def test_other_bytes_under_the_same_name_show_their_digests_once() -> None:
    definition = committed(IMAGE)
    lock = lock_of(definition)
    url = definition.packages[0].url
    files = tuple(file.model_copy(update={"sha256": "b" * 64, "size_bytes": 7}) if file.url == url else file for file in lock.files)
    found = changes_between(plan_of(definition), plan_of(definition, files=files))
    path = definition.packages[0].path
    assert found == {"artifacts": [changed(f"save-cached-file.files[{path}].sha256", sha256(url), "b" * 64)]}


def test_an_update_that_is_added_is_named_by_its_kb() -> None:
    update = {"kb": "KB5999999", "url": "https://updates.example/windows10.0-kb5999999-x64.msu", "build": "20348.9999"}
    one = {"kb": "KB5111111", "url": "https://updates.example/windows10.0-kb5111111-x64.msu", "build": "20348.9000"}
    old = plan_of(committed(IMAGE, lambda content: content.update(updates=[one])))
    found = changes_between(old, plan_of(committed(IMAGE, lambda content: content.update(updates=[one, update]))))
    assert found == {
        "os": [added("install-update.updates", "KB5999999"), changed("install-update.promised_build", "20348.9000", "20348.9999")]
    }
    replaced = changes_between(old, plan_of(committed(IMAGE, lambda content: content.update(updates=[update]))))
    assert replaced["os"][0] == changed("install-update.updates", "KB5111111", "KB5999999")
    assert len(replaced["os"]) == 2


def test_a_registry_value_is_named_by_key_and_name() -> None:
    setting = committed(IMAGE).registry[3]
    assert isinstance(setting.value, int)
    other = 12345

    def change(content: Content) -> None:
        content["registry"][3]["value"] = other

    line = changed(f"set-registry-setting.settings[{setting.path}\\{setting.name}].value", setting.value, other)
    # The settings are applied again in the last layer.
    assert changes_of(change) == {"runtime": [line], "finish": [line]}


def test_a_registry_value_of_another_number_is_another_value() -> None:
    key = "HKLM:\\SYSTEM\\CurrentControlSet\\Policies\\Microsoft\\FeatureManagement\\Overrides"
    first, second = ({"path": key, "name": number, "value": 1} for number in ("1000000001", "1000000002"))
    old = plan_of(committed(IMAGE, lambda content: content.update(registry=[first])))
    found = changes_between(old, plan_of(committed(IMAGE, lambda content: content.update(registry=[second]))))
    assert found["runtime"] == [
        removed("set-registry-setting.settings", f"{key}\\1000000001"),
        added("set-registry-setting.settings", f"{key}\\1000000002"),
    ]


def test_a_new_base_version_is_a_fact_of_the_base_image_and_said_once() -> None:
    definition = committed(IMAGE)
    new = plan_of(definition, base_version="20348.9999.991231")
    assert changes_between(plan_of(definition), new) == {
        "os": [changed("base.version", lock_of(definition).base_version, "20348.9999.991231")]
    }


def test_a_changed_script_is_named_in_the_layers_that_use_it() -> None:
    definition = committed(IMAGE)
    new = plan_of(definition, {"Import-ContainerImage.ps1": b"edited"})
    line = changed("scripts.Import-ContainerImage.ps1", sha256("Import-ContainerImage.ps1"), sha256("edited"))
    assert changes_between(plan_of(definition), new) == {"images": [line]}
    module = changes_between(plan_of(definition), plan_of(definition, {"WinVhd.psm1": b"edited"}))
    assert set(module) == {"os", "runtime", "images", "artifacts", "finish"}
    assert all([line.key for line in lines] == ["scripts.WinVhd.psm1"] for lines in module.values())


def test_a_container_image_by_another_tag_is_one_line_and_a_moved_tag_shows_the_digest() -> None:
    definition = committed(IMAGE)
    reference = definition.container_images[0]
    other = reference.rpartition(":")[0] + ":99.1"
    tag = changes_of(lambda content: content["container_images"].__setitem__(0, other))
    assert tag == {"images": [changed("import-container-image.images", reference, other)]}
    lock = lock_of(definition)
    moved = LockedContainerImage(reference=reference, digest=f"sha256:{'c' * 64}")
    found = changes_between(plan_of(definition), plan_of(definition, container_images=(moved, *lock.container_images[1:])))
    key = f"import-container-image.images[{reference}].digest"
    assert found == {"images": [changed(key, lock.container_images[0].digest, moved.digest)]}


def test_a_stage_that_goes_takes_its_script_along() -> None:
    def without_images(content: Content) -> None:
        content["container_images"] = []

    assert changes_of(without_images) == {"images": [removed("stages", "import-container-image")]}


def test_plain_lists_are_compared_by_what_is_in_them() -> None:
    def change(content: Content) -> None:
        content["features"] = ["Telnet-Client", *content["features"][1:]]

    first = committed(IMAGE).features[0]
    assert changes_of(change) == {"os": [removed("install-feature.features", first), added("install-feature.features", "Telnet-Client")]}


def test_another_order_is_said_and_not_listed() -> None:
    assert changes_of(lambda content: content["features"].reverse()) == {"os": [reordered("install-feature.features")]}
    assert changes_of(lambda content: content["packages"].reverse())["artifacts"] == [reordered("save-cached-file.files")]


def test_comments_descriptions_and_names_of_blocks_change_nothing() -> None:
    def reworded(content: Content) -> None:
        content["description"] = "other words"
        for setting in content["registry"]:
            setting["comment"] = "another reason"

    assert changes_of(reworded) == {}
    assert prints_of(plan_of(committed(IMAGE, reworded))) == prints_of(plan_of(committed(IMAGE)))


def test_generations_never_share_a_layer_and_a_trusted_launch_twin_shares_all() -> None:
    v1, v2, twin = (plan_of(committed(name)) for name in ("windows-2025", "windows-2025-gen2", "windows-2025-gen2-tl"))
    assert not set(prints_of(v1)) & set(prints_of(v2))
    assert {line.key for line in changes_between(v1, v2)["os"]} >= {"base.generation"}
    assert prints_of(v2) == prints_of(twin)
    assert changes_between(v2, twin) == {}


def test_a_long_text_is_told_by_its_digest() -> None:
    def stage(text: str) -> RecordedStage:
        return RecordedStage(stage="set-text-file", input={"path": "C:\\NOTICE.txt", "text": text}, restart_after=False)

    base = records_of(plan_of(committed(IMAGE)))[3]
    old, new = (base.model_copy(update={"stages": (stage(text),)}) for text in ("a" * 201, "short"))
    (line,) = changes(old, new)
    assert line.key == "set-text-file[C:\\NOTICE.txt].text"
    assert line.old == f"201 characters, sha256 {sha256('a' * 201)}"
    assert line.new == "short"


def test_a_number_is_not_a_truth_value() -> None:
    base = records_of(plan_of(committed(IMAGE)))[0]
    old, new = (
        base.model_copy(update={"stages": (RecordedStage(stage="set-pagefile", input={"size_mib": value}, restart_after=False),)})
        for value in (1, True)
    )
    assert changes(old, new) == (changed("set-pagefile.size_mib", 1, True),)


def record_with(features: tuple[str, ...], image: str = "one", recorded_at: str = WHEN) -> LayerRecord:
    definition = committed(IMAGE, lambda content: content.update(features=list(features)))
    return records_of(plan_of(definition), recorded_at)[0].model_copy(update={"image": image})


def test_the_nearest_record_has_the_fewest_changes_whoever_made_it() -> None:
    this = record_with(("Containers", "Hyper-V"))
    near = record_with(("Containers",), image="other", recorded_at="2026-01-01T00:00:00+00:00")
    far = record_with(("Telnet-Client",), image="one")
    found = nearest(this, [far, near], ["one"])
    assert found is not None and found.record == near
    assert found.changes == (added("install-feature.features", "Hyper-V"),)
    assert nearest(this, [], ["one"]) is None


def test_among_equals_the_own_image_comes_first_and_then_the_newest() -> None:
    this = record_with(("Containers", "Hyper-V"))
    old, new = (record_with(("Containers",), recorded_at=f"2026-0{month}-01T00:00:00+00:00") for month in (1, 2))
    foreign = record_with(("Containers",), image="other", recorded_at="2026-09-01T00:00:00+00:00")
    for order in ([old, new, foreign], [foreign, new, old]):
        found = nearest(this, order, ["one"])
        assert found is not None and found.record == new
        found = nearest(this, order, ["someone else"])
        assert found is not None and found.record == foreign


def test_another_product_is_nothing_to_compare_with() -> None:
    this, foreign = (records_of(plan_of(committed(name)))[1] for name in ("windows-2025", "windows-2025-gen2"))
    assert nearest(this, [foreign], ["windows-2025"]) is None
    moved = foreign.model_copy(update={"image": "windows-2025"})
    found = nearest(this, [moved], ["windows-2025"])
    assert found is not None, "an image that was moved to another generation is compared with what it was"


def test_every_script_of_the_sample_is_known() -> None:
    # The records above are made with stand-ins of the scripts: each stage's own must be among them.
    assert {script for record in records_of(plan_of(committed(IMAGE))) for script in record.scripts} <= set(scripts())
