"""Latency profiles: what a file must say, and what an operation takes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra.checkout import ROOT
from infra.local.latency import LatencyFile, LatencyProfile, load_latency

COMMITTED = ROOT / "tests" / "bench" / "latency" / "azure-minutes.yaml"


def test_minutes_are_scaled() -> None:
    profile = LatencyProfile(scale=0.01, minutes={"vm.create": 2.0})
    assert profile.seconds("vm.create") == pytest.approx(1.2)


def test_an_operation_without_an_entry_takes_no_time() -> None:
    assert LatencyProfile(scale=1).seconds("vm.create") == 0


def test_a_pattern_holds_for_the_items_that_match_and_the_plain_entry_for_the_others() -> None:
    profile = LatencyProfile(scale=1, minutes={"guest.image-unpack": 1, "guest.image-unpack */Servercore*": 4})
    assert profile.minutes_of("guest.image-unpack", "mcr.microsoft.com/windows/servercore:ltsc2022") == 4
    assert profile.minutes_of("guest.image-unpack", "mcr.microsoft.com/windows/nanoserver:ltsc2022") == 1
    assert profile.minutes_of("guest.image-unpack") == 1


def test_a_wait_ends_when_it_is_told_to() -> None:
    stopping = threading.Event()
    stopping.set()
    begun = time.monotonic()
    LatencyProfile(scale=1, minutes={"vm.create": 1}).wait("vm.create", stopping)
    assert time.monotonic() - begun < 5


def test_an_entry_without_its_source_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "latency.yaml"
    file.write_text("scale: 1\noperations:\n  vm.create: {minutes: 1}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="source"):
        load_latency(file)


@pytest.mark.parametrize("content", ["scale: [", "just a text", "scale: -1\noperations: {}\n"])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "latency.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError):
        load_latency(file)


def test_every_committed_assumption_says_why() -> None:
    import yaml

    entries = LatencyFile.model_validate(yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))).operations
    silent = [name for name, entry in entries.items() if entry.source == "assumption" and not entry.why]
    assert silent == []
    assert all(entry.source == "assumption" or entry.source.startswith("https://") for entry in entries.values())
