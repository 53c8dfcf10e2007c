"""The stand-in's disk store."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra.local.contracts import BaseImageReference, DiskStore
from infra.local.disks.store import DiskExistsError, DiskNotFoundError, FolderDiskStore
from infra.local.machine.disk import MachineDisk
from infra.vhd.errors import VhdError

BASE = BaseImageReference("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-core-smalldisk", "20348.5499.260809", "V1")


@pytest.fixture
def store(tmp_path: Path) -> FolderDiskStore:
    """An empty store."""
    return FolderDiskStore(tmp_path / "disks")


def test_store_is_what_the_stand_in_asks_for(store: FolderDiskStore) -> None:
    contract: DiskStore = store
    assert not contract.exists("disk")


def test_disk_from_base_holds_windows(store: FolderDiskStore) -> None:
    store.create_from_base("disk", BASE, 40)
    disk = MachineDisk.open(store.folder("disk"))
    assert disk.size_gib == 40
    version = disk.key(r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion")
    assert version is not None
    assert version.get("UBR") == 5499


def test_changes_of_a_copy_do_not_reach_its_source(store: FolderDiskStore) -> None:
    store.create_from_base("disk", BASE, 40)
    MachineDisk.open(store.folder("disk")).write(r"C:\shared.txt", b"before")
    store.copy("disk", "snapshot", 40)
    changed = MachineDisk.open(store.folder("disk"))
    changed.write(r"C:\shared.txt", b"after")
    changed.hives["SOFTWARE"].set("new", 1)
    changed.save()
    kept = MachineDisk.open(store.folder("snapshot"))
    assert kept.path(r"C:\shared.txt").read_bytes() == b"before"
    assert kept.hives["SOFTWARE"].get("new") is None


def test_copy_shares_unchanged_files(store: FolderDiskStore) -> None:
    store.create_from_base("disk", BASE, 40)
    store.copy("disk", "snapshot", 40)
    original, copied = (MachineDisk(store.folder(name)).path(r"C:\Windows\System32\cmd.exe") for name in ("disk", "snapshot"))
    assert original.samefile(copied)


def test_larger_copy_has_its_room_behind_the_partition(store: FolderDiskStore) -> None:
    store.create_from_base("disk", BASE, 40)
    store.copy("disk", "larger", 64)
    original, larger = (MachineDisk.open(store.folder(name)) for name in ("disk", "larger"))
    assert (larger.size_gib, larger.partition_gib) == (64, original.partition_gib)
    assert original.size_gib == 40


def test_disk_survives_export_and_import(store: FolderDiskStore, tmp_path: Path) -> None:
    store.create_from_base("disk", BASE, 40)
    store.export_vhd("disk", tmp_path / "image.vhd")
    store.import_vhd(tmp_path / "image.vhd", "imported", "V1", 40)
    original, imported = (MachineDisk.open(store.folder(name)) for name in ("disk", "imported"))
    assert original.hives == imported.hives
    assert (original.size_gib, original.partition_gib) == (imported.size_gib, imported.partition_gib)


def test_failed_import_leaves_nothing(store: FolderDiskStore, tmp_path: Path) -> None:
    broken = tmp_path / "broken.vhd"
    broken.write_bytes(b"x" * 10_000)
    with pytest.raises(VhdError):
        store.import_vhd(broken, "disk", "V1", 40)
    assert not store.exists("disk")
    assert list(store.root.iterdir()) == []


def test_second_disk_of_a_name_is_refused_and_the_first_kept(store: FolderDiskStore) -> None:
    store.create_from_base("disk", BASE, 40)
    with pytest.raises(DiskExistsError):
        store.create_from_base("disk", BASE, 64)
    assert MachineDisk.open(store.folder("disk")).size_gib == 40


def test_absent_disk_is_a_typed_error_to_copy_and_export_and_nothing_to_delete(store: FolderDiskStore, tmp_path: Path) -> None:
    with pytest.raises(DiskNotFoundError):
        store.copy("absent", "target", 40)
    with pytest.raises(DiskNotFoundError):
        store.export_vhd("absent", tmp_path / "image.vhd")
    store.delete("absent")


def test_deleted_disk_is_gone_and_its_name_free(store: FolderDiskStore) -> None:
    store.create_from_base("disk", BASE, 40)
    store.delete("disk")
    assert list(store.root.iterdir()) == []
    store.create_from_base("disk", BASE, 40)
    assert store.exists("disk")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a" * 300])
def test_name_that_is_no_file_name_is_refused(store: FolderDiskStore, name: str) -> None:
    with pytest.raises(ConfigurationError):
        store.exists(name)
