"""`winvhd diff` of disks: they are inspected with hashes."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from flows.cli.main import app
from infra.vhd.inspect import inspect_path


def _diff(*arguments: str | Path) -> str:
    outcome = CliRunner().invoke(app, ["diff", *map(str, arguments)])
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def test_disk_and_its_own_inventory_do_not_differ(gen2_vhd: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.json"
    inventory.write_text(inspect_path(gen2_vhd, hash_files=True).inventory.model_dump_json(), encoding="utf-8")
    assert "no differences" in _diff(gen2_vhd, inventory)


def test_disks_of_both_generations_differ_in_that_alone(gen1_vhd: Path, gen2_vhd: Path) -> None:
    text = _diff(gen1_vhd, gen2_vhd)
    assert "~ Generation: V1 → V2" in text
    assert text.count("  ~ ") == 1
