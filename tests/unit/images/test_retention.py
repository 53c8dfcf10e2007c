"""Retention: what stays, what goes, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.errors import ConfigurationError
from images.retention import Condition, Verdict, judge_checkpoints

NOON = datetime(2026, 8, 12, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Found:
    """A checkpoint as a test lists it; hours_old counts back from noon, None: Azure does not say."""

    fingerprint: str
    hours_old: int | None = 0
    image: str = "windows-2022"
    layer: str = "os"
    scope: str = "public"
    condition: Condition = Condition.USABLE
    reason: str = ""

    @property
    def name(self) -> str:
        return f"ckpt-{self.layer}-{self.fingerprint}"

    @property
    def created_at(self) -> datetime | None:
        return None if self.hours_old is None else NOON - timedelta(hours=self.hours_old)


def kept(verdicts: list[Verdict[Found]]) -> list[str]:
    return [verdict.checkpoint.fingerprint for verdict in verdicts if verdict.keep]


def test_the_newest_of_each_image_and_layer_stay() -> None:
    found = [
        Found(f"{image}-{layer}-{age}", age, image, layer)
        for image in ("2022", "2025")
        for layer in ("os", "images")
        for age in range(1, 5)
    ]
    verdicts = judge_checkpoints(found, set(), keep=2)
    assert sorted(kept(verdicts)) == sorted(
        f"{image}-{layer}-{age}" for image in ("2022", "2025") for layer in ("os", "images") for age in (1, 2)
    )
    (oldest,) = [verdict for verdict in verdicts if verdict.checkpoint.fingerprint == "2022-os-4"]
    assert oldest.reason == "older than the newest 2 of 2022 os"


def test_three_of_each_stay_unless_somebody_says_otherwise() -> None:
    found = [Found(str(age), age) for age in range(6)]
    assert kept(judge_checkpoints(found, set())) == ["0", "1", "2"]
    assert kept(judge_checkpoints(found, set(), keep=0)) == []


def test_what_a_running_build_needs_stays_however_old() -> None:
    found = [Found(str(age), age) for age in range(6)]
    verdicts = judge_checkpoints(found, {"5", "1", "elsewhere"}, keep=1)
    assert kept(verdicts) == ["0", "1", "5"]
    assert [verdict.in_use for verdict in verdicts] == [False, True, False, False, False, True]
    assert verdicts[-1].reason == "a build uses it"


def test_what_is_broken_goes_and_does_not_count_as_one_of_the_newest() -> None:
    broken = Found("broken", 0, condition=Condition.BROKEN, reason="its state is Failed")
    verdicts = judge_checkpoints([Found("old", 2), broken, Found("new", 1)], {"broken"}, keep=2)
    assert kept(verdicts) == ["new", "old"]
    assert (verdicts[0].keep, verdicts[0].in_use, verdicts[0].reason) == (False, True, "its state is Failed")


@pytest.mark.parametrize(
    ("condition", "reason"),
    [(Condition.BUSY, "its state is Creating"), (Condition.STRANGE, "left to a person: its expiry can not be read")],
)
def test_work_of_others_and_what_nobody_understands_stays(condition: Condition, reason: str) -> None:
    found = Found("x", None, condition=condition, reason=reason.removeprefix("left to a person: "))
    assert judge_checkpoints([found], set(), keep=0) == [Verdict(found, True, False, reason)]


def test_scopes_do_not_take_each_others_places() -> None:
    found = [Found("public", 3), Found("private", 1, scope="private-1")]
    assert kept(judge_checkpoints(found, set(), keep=1)) == ["private", "public"]


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="-1 checkpoints"):
        judge_checkpoints([], set(), keep=-1)


@given(
    st.lists(st.builds(Found, st.text("0123456789abcdef", min_size=4, max_size=4), st.integers(0, 99), st.sampled_from(["a", "b"]))),
    st.integers(0, 4),
    st.randoms(use_true_random=False),
)
def test_the_verdicts_are_those_of_the_set_not_of_the_order(found: list[Found], keep: int, random: Random) -> None:
    found = list({one.fingerprint: one for one in found}.values())
    shuffled = list(found)
    random.shuffle(shuffled)
    verdicts = judge_checkpoints(found, set(), keep=keep)
    assert judge_checkpoints(shuffled, set(), keep=keep) == verdicts
    for image in ("a", "b"):
        mine = [verdict for verdict in verdicts if verdict.checkpoint.image == image]
        assert [verdict.keep for verdict in mine] == [number < keep for number in range(len(mine))]
