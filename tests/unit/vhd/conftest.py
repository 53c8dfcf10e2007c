"""One VHD of each generation for all tests of the readers."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.local.disks.vhd_writer import write_vhd
from infra.local.machine.disk import MachineDisk
from tests.unit.vhd.sample_disk import make_sample_disk

CREATED = datetime(2026, 8, 12, 3, 4, 5, tzinfo=UTC)
UNIQUE_ID = uuid.UUID("5f0a2f5e-0c57-4bb0-a6a4-2a3a5b8d9c01")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[MachineDisk, Path]]:
    """Generation -> the disk's folder and its VHD; nobody may change either."""
    folder = tmp_path_factory.mktemp("samples")
    made = {}
    for generation in ("V1", "V2"):
        disk = make_sample_disk(folder / generation, generation)
        vhd = folder / f"{generation}.vhd"
        write_vhd(disk, vhd, created=CREATED, unique_id=UNIQUE_ID)
        made[generation] = (disk, vhd)
    return made


@pytest.fixture(scope="session")
def gen1_vhd(samples: dict[str, tuple[MachineDisk, Path]]) -> Path:
    """A VHD with an MBR."""
    return samples["V1"][1]


@pytest.fixture(scope="session")
def gen2_vhd(samples: dict[str, tuple[MachineDisk, Path]]) -> Path:
    """A VHD with a GPT."""
    return samples["V2"][1]
