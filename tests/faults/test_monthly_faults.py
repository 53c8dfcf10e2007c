"""A monthly run in bad luck: one image's never stops the others, and a feed that can not be trusted builds nothing at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from images.errors import BuildError, ConfigurationError, DefinitionError, FeedError, ImagesFailedError, StageError
from images.loading import load_definition
from images.stages.contract import StageContract
from images.stages.system import INSTALL_UPDATE
from infra.azure.session import Cloud, open_cloud
from infra.background import BackgroundProcess
from infra.profiles import load_profile
from tasks.lock_file import lock_path, write_lock
from tasks.refresh_lock import refresh_lock
from tests.faults.conftest import PACKAGE, bare
from tests.months import MonthlyRun, another_day, feed_file, monthly_run, pretend
from tests.standin_fixtures import SMALL, FaultControl, write_definition

JULY = {**SMALL["base"], "version": "20348.5386.260709"}
DAY, KB = "2026-08-12", "KB5120242"
MSRC, CATALOG = "https://api.msrc.microsoft.com/*", "https://www.catalog.update.microsoft.com/*"
FOREIGN = {"kb": "KB5025229", "url": "https://catalog.example.com/windows10.0-kb5025229-x64.msu"}
FAULTS = (
    {"point": "guest.update", "key": f"{KB} *-luck-failing-*", "fault": {"code": "0x800f0922"}},
    {"point": "guest.update", "key": f"{KB} *-luck-twice-*", "fault": {"code": "two-restarts"}},
    {"point": "guest.update", "key": f"{KB} *-luck-endless-*", "fault": {"code": "hang"}},
    {"point": "origin.fetch", "key": PACKAGE.format(name="luck-swapped"), "fault": {"code": "corrupt"}, "times": None},
)


def _define(folder: Path, name: str, **changes: Any) -> str:
    return str(write_definition(folder, **bare(name, **{"base": JULY, **changes})))


def _in_a_hurry(patch: pytest.MonkeyPatch) -> None:
    """The updates of one image get seconds where a real one has hours."""
    import tasks.run_stage
    from tasks.build import Build

    run = tasks.run_stage._run

    def hurried(build: Build, link: Any, contract: StageContract, *rest: Any) -> Any:
        soon = build.image == "luck-endless" and contract is INSTALL_UPDATE
        return run(build, link, dataclasses.replace(contract, timeout_s=2) if soon else contract, *rest)

    patch.setattr(tasks.run_stage, "_run", hurried)


@dataclass(frozen=True)
class BadMonth:
    """A run in which something of everything went wrong, and the next one, with some of it mended."""

    first: MonthlyRun
    struck: dict[str, int]
    next: MonthlyRun

    def failure(self, image: str) -> BuildError:
        """Why an image failed in the first run."""
        with pytest.raises(ImagesFailedError) as caught:
            _ = self.first.result
        return caught.value.failures[image]


@pytest.fixture(scope="module")
def month(stand_in: BackgroundProcess, prefect_api: None, workplace: Path) -> Iterator[BadMonth]:
    names = ("calm", "failing", "twice", "endless", "swapped")
    images = {name: _define(workplace, f"luck-{name}") for name in names}
    images["foreign"] = _define(workplace, "luck-foreign", updates=[FOREIGN])
    with pytest.MonkeyPatch.context() as patch, open_cloud(load_profile("local")) as cloud, another_day(cloud):
        faults = FaultControl(cloud.profile.arm_endpoint)
        _in_a_hurry(patch)
        file = Path(images["swapped"])
        locked = refresh_lock(load_definition(file), file, cloud, as_of=datetime(2026, 7, 22, tzinfo=UTC))
        write_lock(locked.new, locked.path)
        faults(*FAULTS)
        try:
            first = monthly_run(cloud, DAY, *images.values())
            struck = faults.struck()
        finally:
            faults()
        yield BadMonth(first, struck, monthly_run(cloud, "2026-08-13", images["calm"], images["failing"]))


@pytest.fixture
def on_the_day(cloud: Cloud) -> Iterator[Cloud]:
    with another_day(cloud):
        pretend(cloud, DAY)
        yield cloud


def test_one_table_tells_what_became_of_every_image(month: BadMonth) -> None:
    assert {image.removeprefix("luck-"): row["outcome"] for image, row in month.first.rows.items()} == {
        "calm": "built",
        "failing": "failed",
        "twice": "built",
        "endless": "failed",
        "swapped": "failed",
        "foreign": "failed",
    }
    assert month.first.outcome == "Failed"
    with pytest.raises(ImagesFailedError, match="4 of 6 images failed") as caught:
        _ = month.first.result
    assert caught.value.exit_code == 24


def test_an_installer_that_fails_inside_an_update_is_named(month: BadMonth) -> None:
    error = month.failure("luck-failing")
    assert isinstance(error, StageError)
    assert "0x800F0922" in error.what
    assert "CBS.log" in error.hint
    assert f"{KB}: exit code -2146498270" in month.first.rows["luck-failing"]["notes"]


def test_an_update_that_asks_for_two_restarts_gets_both(month: BadMonth) -> None:
    assert month.struck["guest.update two-restarts"] == 1
    assert month.first.rows["luck-twice"]["Windows"] == "20348.5499"


def test_an_update_that_never_finishes_ends_with_its_time(month: BadMonth) -> None:
    error = month.failure("luck-endless")
    assert isinstance(error, StageError)
    assert (error.stage, error.code) == ("install-update", "timeout")
    assert month.struck["guest.update hang"] == 1


def test_a_kb_for_another_windows_in_an_explicit_list_is_refused(month: BadMonth) -> None:
    error = month.failure("luck-foreign")
    assert "KB5025229" in error.what
    assert "does not apply to this Windows" in error.what


def test_a_file_that_changed_under_its_url_is_not_built_from(month: BadMonth) -> None:
    error = month.failure("luck-swapped")
    assert error.exit_code == 21
    assert "winvhd lock luck-swapped --accept" in error.hint
    row = month.first.rows["luck-swapped"]
    assert row["notes"].startswith("luck-swapped: 1 file is not what was locked")
    assert not any(step.image == "luck-swapped" for step in month.first.attempt.events)


def test_only_locks_that_built_an_image_are_proposed_and_kept(month: BadMonth, workplace: Path) -> None:
    patch = month.first.patch
    assert [name for name in ("calm", "failing", "twice", "endless", "swapped", "foreign") if f"luck-{name}.lock" in patch] == [
        "calm",
        "twice",
    ]
    kept = {path.name.partition(".")[0].removeprefix("luck-") for path in (workplace / "out" / "locks").glob("luck-*")}
    # The one that was swapped has the lock it had before.
    assert kept == {"calm", "twice", "failing", "swapped"}
    assert KB not in lock_path_of(workplace, "luck-swapped").read_text()


def lock_path_of(workplace: Path, name: str) -> Path:
    from images.lock import LockOrigin

    return lock_path(workplace / "definitions" / f"{name}.yaml", LockOrigin.STAND_IN)


def test_the_next_run_builds_what_failed_and_nothing_else(month: BadMonth) -> None:
    assert {image: row["outcome"] for image, row in month.next.rows.items()} == {"luck-calm": "unchanged", "luck-failing": "built"}
    assert month.next.rows["luck-failing"]["Windows"] == "20348.5499"
    assert month.next.patch.count("diff --git") == 1


def test_the_next_run_has_a_report_of_its_own(month: BadMonth) -> None:
    reports = [next(file for file in run.files if file.suffix == ".md") for run in (month.first, month.next)]
    assert reports[0] != reports[1]
    assert f"- {KB}\n" in reports[0].read_text().partition("## luck-calm: built")[2]
    assert "## luck-calm: unchanged" in reports[1].read_text()


def refused(cloud: Cloud, path: str, **parameters: Any) -> tuple[BuildError, MonthlyRun]:
    """The error of a run that must not build anything."""
    run = monthly_run(cloud, DAY, path, **parameters)
    with pytest.raises(BuildError) as caught:
        _ = run.result
    assert run.vms == 0
    return caught.value, run


def test_a_day_that_is_none_is_told_before_anything_is_read(on_the_day: Cloud, workplace: Path) -> None:
    error, run = refused(on_the_day, _define(workplace, "luck-waiting"), as_of="2026-02-30")
    assert isinstance(error, ConfigurationError)
    assert ("'2026-02-30'" in error.what, "2026-08-12" in error.hint, run.asked) == (True, True, ())


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"code": "down", "status": 503}, "does not answer"), ({"code": "unreachable"}, "does not answer"), ({"code": "corrupt"}, "")],
)
def test_a_feed_that_is_down_or_garbled_builds_nothing(
    on_the_day: Cloud, workplace: Path, faults: FaultControl, fault: dict[str, Any], words: str
) -> None:
    faults({"point": "origin.fetch", "key": MSRC, "fault": fault, "times": None})
    error, run = refused(on_the_day, _define(workplace, "luck-waiting"))
    assert isinstance(error, FeedError)
    assert (error.exit_code, words in error.what) == (23, True)
    assert "update-feed.md" in error.hint
    # It is not an image that failed: there is no table.
    assert run.files == ()


def test_a_catalog_that_is_down_refuses_the_images_that_need_it(on_the_day: Cloud, workplace: Path, faults: FaultControl) -> None:
    faults({"point": "origin.fetch", "key": CATALOG, "fault": {"code": "down", "status": 503}, "times": None})
    error, run = refused(on_the_day, _define(workplace, "luck-waiting"))
    assert isinstance(error, ImagesFailedError)
    assert isinstance(error.failures["luck-waiting"], FeedError)
    assert "Update Catalog does not answer" in run.rows["luck-waiting"]["notes"]


def test_a_kb_that_the_feed_knows_for_another_windows_is_refused_before_anything_is_built(on_the_day: Cloud, workplace: Path) -> None:
    listed = [{"kb": "KB9639012", "url": "https://catalog.example.com/windows10.0-kb9639012-x64.msu"}]
    error, run = refused(on_the_day, _define(workplace, "luck-mistaken", updates=listed))
    assert isinstance(error, ImagesFailedError)
    assert isinstance(error.failures["luck-mistaken"], DefinitionError)
    assert "KB9639012 is for Windows Server 2019" in run.rows["luck-mistaken"]["notes"]
    assert "this image is Windows Server 2022" in str(error)


def test_mistakes_in_a_feed_file_are_told_with_their_lines(on_the_day: Cloud, workplace: Path, tmp_path: Path) -> None:
    path = tmp_path / "feed.yaml"
    path.write_text("schema_version: 1\nupdates:\n  - kb: 5120242\n    kind: cumulative\n", encoding="utf-8")
    error, _ = refused(on_the_day, _define(workplace, "luck-waiting"), feed=str(path))
    assert isinstance(error, DefinitionError)
    assert f"{path}:3: " in str(error)


def test_a_file_that_is_not_what_the_feed_promises_is_not_installed(
    on_the_day: Cloud, workplace: Path, tmp_path: Path, faults: FaultControl
) -> None:
    content = yaml.safe_load(Path(feed_file(on_the_day, DAY, tmp_path / "all.yaml")).read_text(encoding="utf-8"))
    for update in content["updates"]:
        if update["kb"] == KB:
            update["sha256"] = "0" * 64
    (tmp_path / "feed.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    error, run = refused(on_the_day, _define(workplace, "luck-waiting"), feed=str(tmp_path / "feed.yaml"))
    assert isinstance(error, ImagesFailedError)
    assert f"{KB}: its bytes have sha256" in run.rows["luck-waiting"]["notes"]
