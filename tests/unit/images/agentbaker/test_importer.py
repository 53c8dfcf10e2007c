"""The importer's rules on small made data, and its results on AgentBaker's real lists where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images.agentbaker import import_as_yaml, import_definition, render_definition
from images.definition import Generation, ImageDefinition, RegistryOperation
from images.errors import DefinitionError
from images.loading import REPOSITORY, definition_names, find_definition, load_definition
from tests.unit.images.samples import rich_definition

REFERENCE = REPOSITORY.parent / "shared" / "reference" / "agentbaker"
real_lists = pytest.mark.skipif(not REFERENCE.is_dir(), reason="AgentBaker's lists are not beside this checkout")


def version(latest: str, previous: str | None = None, match: str | None = None) -> dict[str, Any]:
    entry = {"latestVersion": latest}
    if previous:
        entry["previousLatestVersion"] = previous
    if match:
        entry["windowsSkuMatch"] = match
    return entry


def components() -> dict[str, Any]:
    return {
        "ContainerImages": [
            {"downloadURL": "r.example/absent:*", "multiArchVersionsV2": [version("v2", "v1")]},
            {"downloadURL": "r.example/empty:*", "multiArchVersionsV2": [version("v2")], "windowsVersions": []},
            {
                "downloadURL": "r.example/linux:*",
                "windowsDownloadUrl": "r.example/windows:*",
                "multiArchVersionsV2": [version("linux")],
                "windowsVersions": [version("ltsc2022", match="2022-containerd*"), version("ltsc2025", match="2025*")],
            },
        ],
        "Packages": [
            {
                "name": "by part",
                "windowsDownloadLocation": "c:\\cache\\",
                "downloadURIs": {
                    "windows": {
                        "ws2022": {"versionsV2": [version("2022.2", "2022.1")], "downloadURL": "https://f.example/${version}.zip"},
                        "default": {"versionsV2": [version("0.1")], "downloadURL": "https://f.example/${version}.zip"},
                    }
                },
            },
            {
                "name": "windows credential provider dalec",
                "windowsDownloadLocation": "c:\\cache\\provider\\",
                "downloadURIs": {
                    "windows": {
                        "default": {
                            "versionsV2": [version("1.32.11-1")],
                            "downloadURL": "https://f.example/$($version.Split('-')[0])/p_${version}.zip",
                        }
                    }
                },
            },
            {
                "name": "kubernetes-binaries",
                "downloadLocation": "/opt",
                "windowsDownloadLocation": "c:\\cache\\win-k8s\\",
                "downloadURIs": {
                    "default": {
                        "current": {
                            "versionsV2": [version("v1.34.9")],
                            "downloadURL": "oci.example/node:${version}-linux-${CPU_ARCH}",
                            "windowsDownloadURL": "https://f.example/${version}/${version}-1int.zip",
                        }
                    }
                },
            },
            {"name": "linux only", "downloadURIs": {"default": {"current": {"versionsV2": [version("1")], "downloadURL": "https://l"}}}},
            {"name": "nothing for Windows", "windowsDownloadLocation": "c:\\cache\\", "downloadURIs": {"ubuntu": {}}},
            {
                "name": "oras",
                "windowsDownloadLocation": "c:\\aks-tools\\oras\\",
                "downloadURIs": {
                    "windows": {"default": {"versionsV2": [version("1.3.3")], "downloadURL": "https://f.example/oras_${version}.zip"}}
                },
            },
        ],
        "OCIArtifacts": [
            {
                "name": "wcn",
                "registry": "r.example/wcn/package:${version}-${CPU_ARCH}",
                "windowsDownloadLocation": "c:\\cache\\wcn\\",
                "windowsVersions": [version("1.7.1", match="2025*")],
            }
        ],
    }


def settings() -> dict[str, Any]:
    def sku(marketplace: str, **more: Any) -> dict[str, Any]:
        return {
            "os_disk_size": "35",
            "base_image_publisher": "MicrosoftWindowsServer",
            "base_image_offer": "WindowsServer",
            "base_image_sku": marketplace,
            "base_image_version": "20348.1.260101",
            "patches_to_apply": [],
            **more,
        }

    patch = {"id": "KB5120241", "url": "https://u.example/windows10.0-kb5120241-x64.msu"}
    return {
        "WindowsBaseVersions": {
            "2022-containerd": sku("2022-Datacenter-Core-smalldisk", patches_to_apply=[patch]),
            "2025-gen2-tl": sku("2025-datacenter-core-smalldisk-g2"),
        },
        "WindowsRegistryKeys": [
            {"WindowsSkuMatch": "*", "Path": "HKLM:\\SYSTEM\\X", "Name": "all", "Value": "1", "Type": "DWORD", "Comment": "for  all"},
            {"WindowsSkuMatch": "2022*", "Path": "HKLM:\\SYSTEM\\X", "Name": "flags", "Value": "0x40", "Type": "dword", "Operation": "bor"},
            {"WindowsSkuMatch": "2025*", "Path": "HKLM:\\SYSTEM\\X", "Name": "text", "Value": "7", "Type": "String"},
        ],
    }


def imported(tmp_path: Path, sku: str, lists: Any = None, windows: Any = None) -> ImageDefinition:
    (tmp_path / "components.json").write_text(lists if isinstance(lists, str) else json.dumps(lists or components(), indent=1))
    (tmp_path / "settings.json").write_text(json.dumps(windows or settings(), indent=1))
    return import_definition(tmp_path / "components.json", tmp_path / "settings.json", sku)


def test_images_follow_the_rules_for_windows_versions_and_skus(tmp_path: Path) -> None:
    assert imported(tmp_path, "2022-containerd").container_images == (
        "r.example/absent:v2",
        "r.example/absent:v1",
        "r.example/windows:ltsc2022",
    )
    assert imported(tmp_path, "2025-gen2-tl").container_images[-1] == "r.example/windows:ltsc2025"


def test_packages_follow_the_rules_for_parts_and_expressions(tmp_path: Path) -> None:
    packages = imported(tmp_path, "2022-containerd").packages
    assert [(package.path, package.kubernetes_version, package.expand) for package in packages] == [
        ("C:\\cache\\2022.2.zip", None, False),
        ("C:\\cache\\2022.1.zip", None, False),
        ("C:\\cache\\provider\\p_1.32.11-1.zip", "1.32", False),
        ("C:\\cache\\win-k8s\\v1.34.9-1int.zip", "1.34.9", False),
        ("C:\\aks-tools\\oras\\oras_1.3.3.zip", None, True),
    ]
    assert packages[2].url == "https://f.example/1.32.11/p_1.32.11-1.zip"
    assert imported(tmp_path, "2025-gen2-tl").packages[0].name == "0.1.zip", "no ws2025 part: the default serves"


def test_oci_artifacts_follow_the_sku(tmp_path: Path) -> None:
    assert imported(tmp_path, "2022-containerd").oci_artifacts == ()
    (artifact,) = imported(tmp_path, "2025-gen2-tl").oci_artifacts
    assert (artifact.reference, artifact.destination) == ("r.example/wcn/package:1.7.1-amd64", "C:\\cache\\wcn\\")


def test_base_image_patches_and_registry_come_from_the_settings(tmp_path: Path) -> None:
    definition = imported(tmp_path, "2022-containerd")
    assert (definition.base.generation, definition.base.trusted_launch, definition.os_disk_gib) == (Generation.V1, False, 35)
    assert [update.kb for update in definition.updates] == ["KB5120241"]
    assert [(s.name, s.value, s.operation, s.comment) for s in definition.registry] == [
        ("all", 1, RegistryOperation.REPLACE, "for all"),
        ("flags", 64, RegistryOperation.OR, ""),
    ]
    twin = imported(tmp_path, "2025-gen2-tl")
    assert (twin.base.generation, twin.base.trusted_launch) == (Generation.V2, True)
    assert [(s.name, s.value) for s in twin.registry] == [("all", 1), ("text", "7")]


def test_keys_are_compared_without_case(tmp_path: Path) -> None:
    text = json.dumps(components()).replace("downloadURL", "DOWNLOADurl").replace("windowsSkuMatch", "windowsskumatch")
    assert imported(tmp_path, "2022-containerd", text) == imported(tmp_path, "2022-containerd")


def test_an_unknown_expression_names_file_line_and_entry(tmp_path: Path) -> None:
    lists = components()
    lists["Packages"][0]["downloadURIs"]["windows"]["ws2022"]["downloadURL"] = "https://f.example/${distro}.zip"
    lists["OCIArtifacts"][0]["registry"] = "r.example/$(calc)"
    with pytest.raises(DefinitionError) as caught:
        imported(tmp_path, "2022-containerd", lists)
    problem = caught.value.problems[0]
    assert problem.file.endswith("components.json")
    assert problem.path == "Packages[0]"
    assert '"by part": unknown variable ${distro}' in problem.message
    assert "${distro}" in (tmp_path / "components.json").read_text().splitlines()[problem.line - 1]


def test_faults_of_both_files_come_at_once(tmp_path: Path) -> None:
    lists, windows = components(), settings()
    lists["ContainerImages"][0]["downloadURL"] = "r.example/without-a-star:1"
    windows["WindowsRegistryKeys"][0]["Value"] = "many"
    windows["WindowsRegistryKeys"][1]["Operation"] = "xor"
    del windows["WindowsBaseVersions"]["2022-containerd"]["base_image_offer"]
    with pytest.raises(DefinitionError) as caught:
        imported(tmp_path, "2022-containerd", lists, windows)
    assert [problem.message for problem in caught.value.problems] == [
        "r.example/without-a-star:1 has no * for the version",
        "lacks base_image_offer",
        "'many' is no number",
        "needs Path, Name, Value, a known Type and, if any, the Operation bor",
    ]


def test_an_unknown_sku_gets_the_nearest_and_all(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError) as caught:
        imported(tmp_path, "2022-containered")
    assert caught.value.problems[0].hint == 'did you mean "2022-containerd"? available: 2022-containerd, 2025-gen2-tl'


@pytest.mark.parametrize("text", ["{", "[]", '{"Packages": [], "packages": []}'])
def test_a_file_that_is_no_such_list_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DefinitionError):
        imported(tmp_path, "2022-containerd", text)


def test_values_that_fit_no_definition_are_named(tmp_path: Path) -> None:
    lists = components()
    lists["Packages"][0]["windowsDownloadLocation"] = "/opt/linux"
    with pytest.raises(DefinitionError, match="/opt/linux"):
        imported(tmp_path, "2022-containerd", lists)


def test_rendering_and_loading_gives_the_same_definition_back(tmp_path: Path) -> None:
    definition = rich_definition()
    text = render_definition(definition, header="first\nsecond")
    path = tmp_path / "sample.yaml"
    path.write_text(text)
    assert text.startswith("# first\n# second\n")
    assert load_definition(path) == definition
    assert render_definition(load_definition(path), header="first\nsecond") == text


@real_lists
@pytest.mark.parametrize(
    ("sku", "packages", "images", "registry", "artifacts", "runtime"),
    [
        ("2022-containerd", 33, 37, 71, 0, "1.6.35-azure.1"),
        ("2022-containerd-gen2", 33, 37, 71, 0, "1.6.35-azure.1"),
        ("2025", 30, 41, 4, 1, "2.0.4-azure.1"),
        ("2025-gen2", 30, 41, 4, 1, "2.0.4-azure.1"),
        ("2025-gen2-tl", 30, 41, 4, 1, "2.0.4-azure.1"),
    ],
)
def test_the_real_lists_give_what_agentbaker_builds(
    sku: str, packages: int, images: int, registry: int, artifacts: int, runtime: str
) -> None:
    definition = import_definition(REFERENCE / "components.json", REFERENCE / "windows_settings.json", sku)
    counts = tuple(
        len(field) for field in (definition.packages, definition.container_images, definition.registry, definition.oci_artifacts)
    )
    assert counts == (packages, images, registry, artifacts)
    assert definition.container_runtime is not None
    assert definition.container_runtime.version == runtime


@real_lists
def test_the_cached_files_are_those_of_the_reference_release_notes() -> None:
    notes = (REFERENCE / "release-notes-2022-containerd-20348.5499.260812.txt").read_text("utf-8-sig")
    listed = {line.split(" ")[0] for line in notes.splitlines() if line.startswith("c:\\akse-cache")}
    # Made by AgentBaker's own build from its own sources, not downloaded.
    listed.discard("c:\\akse-cache\\aks-windows-cse-scripts-current.zip")
    definition = import_definition(REFERENCE / "components.json", REFERENCE / "windows_settings.json", "2022-containerd")
    assert {package.path.lower() for package in definition.packages if not package.expand} == {path.lower() for path in listed}


@real_lists
def test_the_committed_definitions_are_what_the_importer_writes() -> None:
    for name in definition_names():
        if name != "windows-2019-containerd":
            text = import_as_yaml(REFERENCE / "components.json", REFERENCE / "windows_settings.json", name.removeprefix("windows-"))
            assert find_definition(name).read_text("utf-8") == text
