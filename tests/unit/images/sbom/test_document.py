"""The software bill follows CycloneDX, names everything on the image once, and is the same for the same build."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from packageurl import PackageURL

from images.inventory import CachedFile, Inventory
from images.sbom.document import render_sbom
from images.sbom.validation import sbom_problems
from tests.unit.images.notes.parts import facts_of, images_of, small_inventory
from tests.unit.images.samples import lock_of, rich_definition, sha256

DEFINITION = rich_definition()
LOCK = lock_of(DEFINITION)
STARTED = datetime(2026, 8, 12, 1, 2, 3, 999, tzinfo=UTC)
PAUSE = "registry.example/pause:3.10"


def _file(path: str, content: str) -> CachedFile:
    return CachedFile(path=path, sha256=sha256(content), size_bytes=len(content))


def _inventory(**changes: Any) -> Inventory:
    """What rich_definition() promises, as far as the bill knows where it came from."""
    files = (
        _file(r"C:\cache\k8s\v1.30.1-1int.zip", "https://files.example/v1.30.1-1int.zip"),
        _file(r"C:\cache\fix.zip", "secret"),
        _file(r"C:\cache\wcn\wcn.zip", "wcn"),
    )
    fields: dict[str, Any] = {
        "cached_files": files,
        "tools": (_file(r"C:\tools\tool\tool.exe", "unpacked"),),
        "container_images": images_of(PAUSE, digest=sha256(PAUSE), config="e" * 64),
    }
    return small_inventory(**{**fields, **changes})


def _render(inventory: Inventory, started: datetime = STARTED, **facts: Any) -> str:
    return render_sbom(facts_of(inventory, **facts), DEFINITION, LOCK, vhd_sha256="f" * 64, started=started, tool_version="0.1.0")


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_render(_inventory()))
    return document


@pytest.fixture(scope="module")
def parts(bill: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["bom-ref"]: part for part in bill["components"]}


def _needs(bill: dict[str, Any], ref: str) -> list[str]:
    (found,) = [dependency for dependency in bill["dependencies"] if dependency["ref"] == ref]
    return list(found.get("dependsOn", []))


def test_bill_follows_the_schema_and_the_library_reads_it_back() -> None:
    text = _render(_inventory())
    assert sbom_problems(text) == ()
    read = Bom.from_json(json.loads(text))  # type: ignore[attr-defined]
    assert len(read.components) == len(json.loads(text)["components"])


def test_bill_of_a_bare_image_follows_the_schema() -> None:
    bare = small_inventory(
        qfes=(), runtime=None, defender=None, capabilities=(), features=(), container_images=(), cached_files=(), tools=()
    )
    assert sbom_problems(_render(bare)) == ()


def test_image_is_named_by_version_and_hash_of_its_vhd(bill: dict[str, Any]) -> None:
    image = bill["metadata"]["component"]
    assert (image["name"], image["version"]) == ("windows-2022-containerd", "20348.5499.26081201")
    assert image["hashes"] == [{"alg": "SHA-256", "content": "f" * 64}]


def test_windows_has_its_full_version_and_the_name_that_vulnerability_databases_use(parts: dict[str, dict[str, Any]]) -> None:
    windows = parts["os"]
    assert (windows["type"], windows["version"]) == ("operating-system", "10.0.20348.5499")
    assert windows["cpe"] == "cpe:2.3:o:microsoft:windows_server_2022:10.0.20348.5499:*:*:*:*:*:*:*"
    said = {(entry["name"], entry["value"]) for entry in windows["properties"]}
    assert {("winvhd:feature", "Containers"), ("winvhd:capability", "OpenSSH.Server~~~~0.0.1.0")} <= said


def test_windows_of_a_build_without_a_known_name_has_no_cpe() -> None:
    system = small_inventory().os.model_copy(update={"build": 99999})
    (windows,) = [part for part in json.loads(_render(_inventory(os=system)))["components"] if part["bom-ref"] == "os"]
    assert "cpe" not in windows


def test_update_has_the_hash_and_address_of_its_package_and_its_article(parts: dict[str, dict[str, Any]]) -> None:
    update = parts["qfe:KB5120241"]
    purl = PackageURL.from_string(update["purl"])
    url = "https://updates.example/windows10.0-kb5120241-x64.msu"
    assert purl.qualifiers == {"checksum": f"sha256:{sha256(url)}", "download_url": url}
    assert update["externalReferences"][0]["url"] == "https://support.microsoft.com/kb/5120241"


def test_an_optional_preview_is_marked_and_a_security_release_is_not(parts: dict[str, dict[str, Any]]) -> None:
    marked = LOCK.model_copy(update={"updates": tuple(update.model_copy(update={"preview": True}) for update in LOCK.updates)})
    text = render_sbom(facts_of(_inventory()), DEFINITION, marked, vhd_sha256="f" * 64, started=STARTED, tool_version="0.1.0")
    (update,) = [part for part in json.loads(text)["components"] if part["bom-ref"] == "qfe:KB5120241"]
    assert update["properties"] == [{"name": "winvhd:preview", "value": "true"}]
    assert sbom_problems(text) == ()
    assert "properties" not in parts["qfe:KB5120241"]


def test_file_has_its_hash_and_where_it_came_from(parts: dict[str, dict[str, Any]]) -> None:
    package = parts[r"file:c:\cache\k8s\v1.30.1-1int.zip"]
    url = "https://files.example/v1.30.1-1int.zip"
    assert package["hashes"] == [{"alg": "SHA-256", "content": sha256(url)}]
    assert PackageURL.from_string(package["purl"]).qualifiers == {"checksum": f"sha256:{sha256(url)}", "download_url": url}


def test_address_of_a_private_file_is_nowhere_in_the_bill(parts: dict[str, dict[str, Any]]) -> None:
    assert PackageURL.from_string(parts[r"file:c:\cache\fix.zip"]["purl"]).qualifiers == {"checksum": f"sha256:{sha256('secret')}"}


def test_container_image_is_there_once_with_registry_tag_and_digest(parts: dict[str, dict[str, Any]]) -> None:
    (image,) = [part for part in parts.values() if part["type"] == "container"]
    purl = PackageURL.from_string(image["purl"])
    assert (purl.type, purl.name, purl.version) == ("oci", "pause", f"sha256:{sha256(PAUSE)}")
    assert purl.qualifiers == {"repository_url": "registry.example/pause", "tag": "3.10"}


def test_runtime_names_the_archive_it_was_installed_from(parts: dict[str, dict[str, Any]]) -> None:
    purl = PackageURL.from_string(parts["runtime"]["purl"])
    assert (purl.name, purl.version) == ("containerd", "1.7.20+azure")
    assert purl.qualifiers["download_url"] == "https://files.example/containerd-v1.7.20.tar.gz"


def test_everything_hangs_together_from_the_image_down(bill: dict[str, Any], parts: dict[str, dict[str, Any]]) -> None:
    assert _needs(bill, "os") == ["qfe:KB5120241"]
    assert _needs(bill, "oci-artifact:registry.example/wcn:1") == [r"file:c:\cache\wcn\wcn.zip"]
    reached: set[str] = set()
    waiting = ["image"]
    while waiting:
        ref = waiting.pop()
        reached.add(ref)
        waiting += _needs(bill, ref)
    assert reached == {"image", *parts}


def test_same_build_gives_the_same_bytes_and_another_build_another_serial_number() -> None:
    first = _render(_inventory())
    assert _render(_inventory(), started=STARTED.astimezone(timezone(timedelta(hours=5)))) == first
    assert json.loads(first)["metadata"]["timestamp"] == "2026-08-12T01:02:03Z"
    assert json.loads(_render(_inventory(), build_id="other"))["serialNumber"] != json.loads(first)["serialNumber"]


def test_ten_thousand_files_take_less_than_two_seconds() -> None:
    files = tuple(CachedFile(path=rf"C:\akse-cache\{n}.zip", sha256=f"{n:064x}", size_bytes=n) for n in range(10_000))
    started = time.process_time()
    text = _render(_inventory(cached_files=files))
    assert time.process_time() - started < 2
    assert text.count('"type": "file"') == 10_000 + 2


def _broken(**changes: Any) -> str:
    return json.dumps(json.loads(_render(_inventory())) | changes)


def test_a_bill_that_breaks_the_schema_is_told_also_beyond_the_first_part() -> None:
    many = [{"type": "file", "bom-ref": f"f{n}", "name": "f"} for n in range(450)]
    assert sbom_problems(_broken(components=many, dependencies=[])) == ()
    many[444]["type"] = "flie"
    assert "flie" in sbom_problems(_broken(components=many, dependencies=[]))[0]


def test_references_that_occur_twice_or_lead_nowhere_are_told() -> None:
    part = {"type": "file", "bom-ref": "a", "name": "f"}
    twice = [part, part | {"name": "g"}]
    assert sbom_problems(_broken(components=twice, dependencies=[])) == ("bom-refs that occur twice: a",)
    astray = [{"ref": "image", "dependsOn": ["a", "b"]}]
    assert sbom_problems(_broken(components=[part], dependencies=astray)) == ("the dependencies of image lead nowhere: b",)
