"""Locked updates become steps: files and the agent's KBs in their order, each group with its restart and its promise."""

from __future__ import annotations

from typing import Any

import pytest

from images.lock import LockedFile, LockedUpdate
from images.steps.step import Step
from images.steps.system import update_steps
from tests.unit.images.samples import lock_of, rich_definition

LOCK = lock_of(rich_definition())


def locked(kb: str, build: str | None = None, name: str = "a.msu", *, file: bool = True) -> LockedUpdate:
    source = LockedFile(url=f"https://updates.example/{name}", sha256="a" * 64, size_bytes=1) if file else None
    return LockedUpdate(kb=kb, build=build, file=source)


def steps(*updates: LockedUpdate, base: str = "20348.1.260101") -> list[Step]:
    return list(update_steps(LOCK.model_copy(update={"updates": updates, "base_version": base})))


def test_no_updates_need_no_step() -> None:
    assert steps() == []


def test_files_and_the_agents_updates_keep_their_order() -> None:
    found = steps(
        locked("KB5120241"),
        locked("KB5120242", "20348.5499", file=False),
        locked("KB5120705", file=False),
        locked("KB5120300", "20348.5538"),
    )
    assert [(step.contract.name, step.restart_after) for step in found] == [
        ("install-update", True),
        ("install-agent-update", True),
        ("install-update", True),
    ]
    assert found[1].input["updates"] == [{"kb": "KB5120242", "build": "20348.5499"}, {"kb": "KB5120705", "build": None}]
    assert [step.input["promised_build"] for step in found] == [None, "20348.5499", "20348.5538"]


@pytest.mark.parametrize(("build", "checkpoints"), [("26100", [True, False]), ("20348", [False, False])])
def test_an_older_update_of_2025_is_a_checkpoint_of_the_newer_one(build: str, checkpoints: list[bool]) -> None:
    # As text, 999 would be the newer one.
    (step,) = steps(locked("KB5043080", f"{build}.999"), locked("KB5120242", f"{build}.1006"), base=f"{build}.1.260101")
    files: Any = step.input["updates"]
    assert [file["checkpoint"] for file in files] == checkpoints
    assert [file["build"] for file in files] == [f"{build}.999", f"{build}.1006"]
    assert step.input["promised_build"] == f"{build}.1006"


def test_a_group_below_the_base_promises_nothing_and_a_later_one_does() -> None:
    below, agent, older = steps(
        locked("KB9485386", "20348.5386"),
        locked("KB5120300", "20348.5538", file=False),
        locked("KB5120242", "20348.5499"),
        base="20348.5400.260801",
    )
    assert [step.input["promised_build"] for step in (below, agent, older)] == [None, "20348.5538", None]
    files: Any = [file for step in (below, older) for file in step.input["updates"]]  # type: ignore[union-attr]
    # By its own build the guest knows that it is superseded.
    assert [file["build"] for file in files] == ["20348.5386", "20348.5499"]


def test_a_group_at_the_build_of_the_base_promises_it() -> None:
    # As text, 999 would be above 5400.
    (step,) = steps(locked("KB9480999", "20348.999"), locked("KB9485400", "20348.5400"), base="20348.5400.260801")
    assert step.input["promised_build"] == "20348.5400"


def test_below_the_base_of_2025_the_older_update_stays_a_checkpoint() -> None:
    (step,) = steps(locked("KB5043080", "26100.999"), locked("KB5120242", "26100.1006"), base="26100.2000.260101")
    files: Any = step.input["updates"]
    assert [file["checkpoint"] for file in files] == [True, False]
    assert step.input["promised_build"] is None


def test_an_update_without_a_build_is_no_checkpoint() -> None:
    (step,) = steps(locked("KB97002610"), locked("KB5120242", "26100.33725"), base="26100.1.260101")
    files: Any = step.input["updates"]
    assert [file["checkpoint"] for file in files] == [False, False]
