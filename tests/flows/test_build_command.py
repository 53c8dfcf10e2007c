"""`winvhd build` for several images: whose step each line is, what it prints in the end, and what --rebuild asks for."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from infra.azure.session import Cloud
from tests.faults.conftest import bare
from tests.flow_attempt import operations

Define = Callable[..., str]
Winvhd = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def winvhd(cloud: Cloud, run_command: Winvhd) -> Winvhd:
    """The command on the stand-in and the Prefect API of this session."""
    shared = {"WINVHD_STATE": os.environ["WINVHD_STATE"], "WINVHD_OUT": os.environ["WINVHD_OUT"]}
    return lambda *arguments: run_command(*arguments, **shared, PREFECT_API_URL=str(PREFECT_API_URL.value()))


def test_two_images_on_one_command_line(winvhd: Winvhd, define: Define, cloud: Cloud) -> None:
    paths = [define(**bare(name, os_disk_gib=67)) for name in ("left", "right")]
    built = winvhd("build", *paths)
    assert built.returncode == 0, built.stderr
    assert "building left, right on the stand-in cloud" in built.stderr
    ended = [line.split(maxsplit=3) for line in built.stderr.splitlines() if line.startswith(("built ", "reused "))]
    steps = [(outcome, step) for outcome, _, _, step in ended]
    for name in ("left", "right"):
        assert ("built", f"{name}: checkpoint artifacts") in steps
        assert ("built", f"{name}: Generalize") in steps
    # Which of the two builds the common layer is left to chance, and the other reuses it.
    assert sum(step.endswith(": checkpoint os") for _, step in steps) == 1
    assert sum(outcome == "reused" and ": layer os " in step for outcome, step in steps) == 1
    assert [line.split()[1] for line in built.stdout.splitlines() if line.startswith("built ")] == ["left", "right"]

    made = operations(cloud, "vm.create")
    unchanged = winvhd("build", *paths, "--json")
    results = json.loads(unchanged.stdout)
    assert [(result["image"], result["unchanged"]) for result in results] == [("left", True), ("right", True)]
    assert operations(cloud, "vm.create") == made

    one = winvhd("build", paths[1])
    assert one.stdout.lstrip().startswith(f"nothing changed since {results[1]['built_at'][:16]}: right {results[1]['image_version']} ")

    anew = winvhd("build", paths[0], "--rebuild", "image")
    assert anew.returncode == 0, anew.stderr
    assert anew.stdout.lstrip().startswith("built left ")
    assert results[0]["image_version"] not in anew.stdout
    # One image needs no name before its steps.
    assert any(line.startswith("reused ") and line.split(maxsplit=3)[3].startswith("layer os ") for line in anew.stderr.splitlines())


def test_a_copy_of_several_images_is_refused_before_anything_starts(run_command: Winvhd, define: Define, tmp_path: Path) -> None:
    paths = [define(**bare(name)) for name in ("left", "right")]
    refused = run_command("build", *paths, "--copy-to", "winvhdcopy/images")
    assert refused.returncode == 6
    assert "one image at a time" in refused.stderr
    assert not (tmp_path / "state").exists()


def test_an_unknown_extent_is_refused(run_command: Winvhd, define: Define) -> None:
    assert run_command("build", define(**bare("left")), "--rebuild", "some").returncode == 2
