"""Thousands of damaged disks: a typed error or some inventory, never a crash or a hang, and with bounded memory.

Cases in one run of the suite (CASES; test_bolt.py and test_go_programs.py add 200 and 300):

    bit flips       300  whole inspections with hashes of a good VHD with 1 to 200 bits flipped in used pages
    structures      800  whole inspections with 1 to 60 bytes changed in MFT records, index blocks, hives and their bins
    truncations    1500  a good VHD cut at any length, with and without its footer being required
    hives          2000  every key and value of a hive with bytes changed in any of its cells
    footers        1500  hypothesis: changed footers, headers of dynamic VHDs and their allocation tables
    tables         1000  hypothesis: changed partition tables (MBR, GPT) and boot sectors
"""

from __future__ import annotations

import contextlib
import io
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.vhd import windows_places as places
from infra.vhd.errors import VhdError
from infra.vhd.footer import DiskType, make_footer
from infra.vhd.hives import Hive
from infra.vhd.image_file import open_image
from infra.vhd.ntfs import NtfsVolume
from infra.vhd.offline_inventory import inspect_disk
from infra.vhd.partitions import read_partitions, windows_partition
from infra.vhd.source import read_exactly
from tests.unit.vhd.damage import Patched, bit_flips, byte_changes, flipped, structures, used_pages

CASES = {"bit flips": 300, "structures": 800, "truncations": 1500, "hives": 2000, "footers": 1500, "tables": 1000}
SLOWEST_S = 10.0
"""A sound disk takes 0.03 s; anything that goes in circles would take minutes."""
MEMORY_BYTES = 512 * 2**20


@contextlib.contextmanager
def _quick() -> Iterator[None]:
    """The block ends soon, with success or a VhdError."""
    started = time.monotonic()
    with contextlib.suppress(VhdError):
        yield
    assert time.monotonic() - started < SLOWEST_S


@pytest.fixture(scope="module")
def pages(gen2_vhd: Path) -> list[int]:
    """Used pages of the gen2 VHD."""
    return used_pages(gen2_vhd.read_bytes())


@pytest.fixture(scope="module")
def parts(gen1_vhd: Path) -> list[int]:
    """Structures of the gen1 VHD."""
    return structures(gen1_vhd.read_bytes())


@pytest.fixture(scope="module")
def hives(gen1_vhd: Path) -> dict[str, bytes]:
    """The hives of the gen1 VHD by name."""
    with gen1_vhd.open("rb") as source:
        image = open_image(source)
        part = windows_partition(image.disk, read_partitions(image.disk, image.size_bytes))
        with NtfsVolume(image.disk, part.offset, part.size_bytes) as volume:
            return {name: volume.read(f"{places.CONFIG_FOLDER}\\{name}") for name in ("SOFTWARE", "SYSTEM", "SAM")}


def test_cases_are_thousands() -> None:
    assert sum(CASES.values()) >= 7000


@pytest.mark.parametrize("seed", range(2))
def test_bit_flips(gen2_vhd: Path, pages: list[int], seed: int) -> None:
    source = random.Random(seed)
    refused = 0
    for _ in range(CASES["bit flips"] // 2):
        with Patched(gen2_vhd, bit_flips(source, pages, 4096, source.randint(1, 200))) as disk, _quick():
            refused += 1
            inspect_disk(disk, hash_files=True)
            refused -= 1
    assert 0 < refused < CASES["bit flips"] // 2


@pytest.mark.parametrize("seed", range(2))
def test_changed_structures(gen1_vhd: Path, parts: list[int], seed: int) -> None:
    source = random.Random(100 + seed)
    for _ in range(CASES["structures"] // 2):
        with Patched(gen1_vhd, byte_changes(source, parts, 300, source.randint(1, 60))) as disk, _quick():
            inspect_disk(disk, hash_files=False)


def test_truncations(gen1_vhd: Path, pages: list[int]) -> None:
    source = random.Random(7)
    size = gen1_vhd.stat().st_size
    for case in range(CASES["truncations"]):
        # Anywhere, near the end, and inside what is used.
        length = (source.randrange(size), size - 1 - source.randrange(2048), source.choice(pages) + source.randrange(4096))[case % 3]
        with Patched(gen1_vhd, length=min(length, size - 1)) as disk, _quick():
            inspect_disk(disk, hash_files=False, require_footer=True)
            pytest.fail(f"a VHD cut at {length} was taken for a whole one")
        # As a raw disk it may pass the first look.
        sectors = length // 512 * 512
        with Patched(gen1_vhd, length=sectors) as disk, _quick():
            image = open_image(disk)
            windows_partition(image.disk, read_partitions(image.disk, image.size_bytes))
            if sectors < size - 512:
                pytest.fail(f"a disk cut at {sectors} was taken for a whole one")


def test_changed_hives(hives: dict[str, bytes]) -> None:
    source = random.Random(11)
    names = sorted(hives)
    for case in range(CASES["hives"]):
        content = hives[names[case % len(names)]]
        changes = [(source.randrange(len(content)), source.randrange(1, 256)) for _ in range(source.choice((1, 2, 5, 40)))]
        with _quick(), Hive(io.BytesIO(flipped(content, changes)), "damaged") as hive:
            for key in hive.root.walk():
                list(key.values())


SIZE = 4 * 2**20
CREATED = datetime(2026, 8, 12, tzinfo=UTC)
CHANGES = st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), min_size=1, max_size=12)


def _dynamic_vhd() -> tuple[bytes, int]:
    """A dynamic VHD with every block unused, and where its header is."""
    footer = make_footer(SIZE, unique_id=uuid.UUID(int=1), created=CREATED, disk_type=DiskType.DYNAMIC, data_offset=512)
    header = bytearray(1024)
    header[:8] = b"cxsparse"
    header[8:16] = b"\xff" * 8
    header[16:24] = (1536).to_bytes(8, "big")
    header[24:28] = (0x10000).to_bytes(4, "big")
    header[28:32] = (2).to_bytes(4, "big")
    header[32:36] = (2**21).to_bytes(4, "big")
    header[36:40] = (~sum(header) & 0xFFFF_FFFF).to_bytes(4, "big")
    return footer + bytes(header) + b"\xff" * 512 + footer, 512


DYNAMIC, HEADER = _dynamic_vhd()
FIXED = bytes(SIZE) + make_footer(SIZE, unique_id=uuid.UUID(int=1), created=CREATED)


def test_good_images_of_the_footer_cases_are_read() -> None:
    for content, kind in ((DYNAMIC, "dynamic"), (FIXED, "fixed")):
        image = open_image(io.BytesIO(content))
        assert (image.kind, image.size_bytes) == (kind, SIZE)
        assert read_exactly(image.disk, SIZE - 512, 512, "end") == bytes(512)


@given(st.sampled_from([DYNAMIC, FIXED[-4096:]]), CHANGES, st.booleans())
@settings(max_examples=CASES["footers"], deadline=None)
def test_changed_footers_and_dynamic_headers(content: bytes, changes: list[tuple[int, int]], keeps_checksum: bool) -> None:
    changed = bytearray(flipped(content, changes))
    if keeps_checksum:
        # Only what gets past the checksums meets the checks behind them.
        for start, end, at in ((len(changed) - 512, len(changed), 64), (HEADER, HEADER + 1024, 36)):
            changed[start + at : start + at + 4] = bytes(4)
            changed[start + at : start + at + 4] = (~sum(changed[start:end]) & 0xFFFF_FFFF).to_bytes(4, "big")
    with _quick():
        image = open_image(io.BytesIO(bytes(changed)))
        for offset in (0, image.size_bytes // 2, max(0, image.size_bytes - 512)):
            read_exactly(image.disk, offset, min(512, image.size_bytes), "piece")


@given(st.sampled_from(["V1", "V2"]), CHANGES, st.sampled_from([512, 4096, 65536]))
@settings(max_examples=CASES["tables"], deadline=None)
def test_changed_partition_tables_and_boot_sectors(
    gen1_vhd: Path, gen2_vhd: Path, generation: str, changes: list[tuple[int, int]], within: int
) -> None:
    path = gen1_vhd if generation == "V1" else gen2_vhd
    first_volume = 2**20
    flips = {(position % within if position % 3 else first_volume + position % 512): flip for position, flip in changes}
    with Patched(path, flips) as disk, _quick():
        image = open_image(disk)
        part = windows_partition(image.disk, read_partitions(image.disk, image.size_bytes))
        with NtfsVolume(image.disk, part.offset, part.size_bytes) as volume:
            volume.find("Windows")


def test_memory_stays_bounded(gen2_vhd: Path) -> None:
    """The same damage in a process of its own, whose address space is limited: an absurd size would end it."""
    program = (
        "import random, resource, sys; from pathlib import Path\n"
        "from infra.vhd.errors import VhdError; from infra.vhd.offline_inventory import inspect_disk\n"
        "from tests.unit.vhd.damage import Patched, byte_changes, structures\n"
        "path = Path(sys.argv[1]); places = structures(path.read_bytes()); source = random.Random(5)\n"
        "inspect_disk(Patched(path), hash_files=True)\n"
        "held = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv[2]),) * 2)\n"
        "for _ in range(60):\n"
        "    with Patched(path, byte_changes(source, places, 300, 60)) as disk:\n"
        "        try: inspect_disk(disk, hash_files=True)\n"
        "        except VhdError as error: assert 'MemoryError' not in str(error), error\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", program, str(gen2_vhd), str(MEMORY_BYTES)],
        check=False,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert outcome.returncode == 0, outcome.stderr
