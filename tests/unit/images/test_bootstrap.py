"""Which files a node of each Kubernetes version needs."""

from __future__ import annotations

from images.bootstrap import bootstrap_versions, version_order
from images.loading import find_definition, load_definition
from tests.unit.images.samples import lock_of, rich_definition


def test_each_exact_version_has_its_own_files_and_those_of_its_minor() -> None:
    definition = rich_definition()
    versions = bootstrap_versions(definition, lock_of(definition))
    assert [(version.kubernetes_version, [file.name for file in version.files]) for version in versions] == [
        ("1.9.0", ["v1.9.0-1int.zip"]),
        ("1.30.1", ["v1.30.1-1int.zip", "provider-1.30.zip"]),
    ]


def test_a_cached_runtime_is_needed_by_every_version() -> None:
    definition = load_definition(find_definition("windows-2022-containerd"))
    versions = bootstrap_versions(definition, lock_of(definition))
    assert len(versions) == 14
    assert versions[0].kubernetes_version == "1.28.102-akslts"
    assert all(any(file.name.startswith("containerd-v1.6.35") for file in version.files) for version in versions)


def test_versions_are_ordered_by_their_numbers() -> None:
    assert sorted(["1.30.1", "1.9.0", "v1.28.102-akslts", "1.28.12"], key=version_order) == [
        "1.9.0",
        "1.28.12",
        "v1.28.102-akslts",
        "1.30.1",
    ]
