"""Makes a machine's disk folder from a VHD: files from its NTFS volume, the registry from its hives."""

from __future__ import annotations

from pathlib import Path

from infra.local.disks.scale_note import NOTE_OFFSET, NOTE_SIZE, read_note
from infra.local.disks.vhd_writer import EMPTY_HIVES
from infra.local.machine.disk import HIVES, MachineDisk, RegistryKey
from infra.vhd import windows_places as places
from infra.vhd.errors import VhdError
from infra.vhd.hives import HiveKey, open_hive
from infra.vhd.image_file import open_image
from infra.vhd.ntfs import NtfsEntry, NtfsVolume
from infra.vhd.partitions import read_partitions, windows_partition
from infra.vhd.source import read_exactly

_PIECE = 1 << 20
_GIB = 2**30


def read_vhd(vhd: Path, folder: Path, generation: str, size_gib: int) -> MachineDisk:
    """Fill an empty folder from a VHD and give its disk, saved.

    The disk gets size_gib, or the image's own nominal size where that is larger. Raises VhdError for an image that is not sound, or whose
    partition table the generation can not boot.
    """
    with vhd.open("rb") as file:
        image = open_image(file, require_footer=True)
        table = read_partitions(image.disk, image.size_bytes)
        if table.generation != generation:
            raise VhdError(
                f"the image has an {table.scheme} partition table, which a machine of generation {generation} can not boot",
                hint=f"make the disk or image with hyperVGeneration {table.generation}",
            )
        part = windows_partition(image.disk, table)
        note = read_note(read_exactly(image.disk, NOTE_OFFSET, NOTE_SIZE, "note of the stand-in"))
        disk = MachineDisk(folder)
        disk.c.mkdir(parents=True)
        with NtfsVolume(image.disk, part.offset, part.size_bytes) as volume:
            _copy_files(volume, disk.c)
            for name in HIVES:
                with open_hive(volume, name) as hive:
                    disk.hives[name] = _registry(hive.root, name)
    disk.generation = generation
    disk.partition_gib = note.partition_gib if note else -(-part.size_bytes // _GIB)
    disk.size_gib = max(size_gib, note.size_gib if note else -(-image.size_bytes // _GIB))
    disk.save()
    return disk


def _copy_files(volume: NtfsVolume, target: Path) -> None:
    hives = {f"{places.CONFIG_FOLDER}\\{name}".casefold() for name in (*HIVES, *EMPTY_HIVES)}
    for entry in volume.walk():
        if entry.path.casefold() in hives:
            continue
        place = target.joinpath(*_safe_parts(entry))
        if entry.is_folder:
            place.mkdir()
            continue
        stream = volume.open_file(entry)
        with place.open("xb") as file:
            while piece := stream.read(_PIECE):
                file.write(piece)


def _safe_parts(entry: NtfsEntry) -> list[str]:
    parts = entry.path.split("\\")
    # A damaged or hostile volume can name a file `..`: nothing may be written outside the folder.
    if any(part in {"", ".", ".."} or "/" in part or "\0" in part for part in parts):
        raise VhdError(f"the volume holds a file with an impossible name: {entry.path!r}")
    return parts


def _registry(key: HiveKey, name: str) -> RegistryKey:
    made = RegistryKey(name)
    for value in key.values():
        made.set(value.name, value.data, value.type)
    for child in key.subkeys():
        made.keys[child.name.lower()] = _registry(child, child.name)
    return made
