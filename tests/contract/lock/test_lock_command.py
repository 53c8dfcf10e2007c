"""`winvhd lock` on the stand-in: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from flows.cli.main import app
from images.lock import LockOrigin
from tasks.lock_file import lock_path, read_lock
from tests.contract.lock.conftest import URL, LockedImage
from tests.standin_fixtures import SMALL, FaultControl

USAGE, UNUSABLE, MOVED, ALARM = 2, 6, 20, 21
JULY = {**SMALL["base"], "version": "20348.5386.260709"}


class Command:
    """Runs `winvhd lock` for one image's definition."""

    def __init__(self, image: LockedImage) -> None:
        self._image = image
        self.path = lock_path(image.file, LockOrigin.STAND_IN)

    def __call__(self, *options: str) -> Result:
        return CliRunner().invoke(app, ["lock", str(self._image.file), "--profile", "local", *options])

    def json(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit code and the one JSON document on standard output."""
        done = self(*options, "--json")
        return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def lock(image: LockedImage) -> Command:
    return Command(image)


@pytest.fixture
def changed(image: LockedImage, lock: Command, faults: FaultControl) -> str:
    """The image is locked, and its file has other bytes since; gives their hash."""
    assert lock().exit_code == 0
    faults({"point": "origin.fetch", "key": URL.format(name=image.name), "fault": {"code": "corrupt"}, "times": None})
    return image.refresh().new.files[0].sha256


def test_a_first_lock_is_written_and_summed_up(image: LockedImage, lock: Command) -> None:
    done = lock()
    assert done.exit_code == 0, done.stderr
    assert f"{image.name}: wrote {lock.path}" in done.stdout
    assert "+ base            version  20348.5499.260809" in done.stdout
    assert "+ file            1, together" in done.stdout
    assert read_lock(lock.path) == image.refresh().new


def test_a_check_of_a_lock_that_fits_is_0_and_says_so(image: LockedImage, lock: Command) -> None:
    lock()
    done = lock("--check")
    assert (done.exit_code, done.stdout) == (0, f"{image.name}: is as it was\n")


def test_a_check_without_a_lock_is_20_and_writes_nothing(image: LockedImage, lock: Command) -> None:
    done = lock("--check")
    assert done.exit_code == MOVED
    assert f"{image.name}: has no lock" in done.stdout
    assert f"run: winvhd lock {image.name}" in done.stderr
    assert not lock.path.exists()


def test_a_check_of_a_lock_that_moved_is_20_and_shows_old_and_new(image: LockedImage, lock: Command) -> None:
    lock()
    image.define(base={**SMALL["base"], "version": "20348.5386.260709"})
    before = lock.path.read_bytes()
    done = lock("--check")
    assert done.exit_code == MOVED
    assert "~ base            version  20348.5499.260809 -> 20348.5386.260709" in done.stdout
    assert lock.path.read_bytes() == before
    assert lock().exit_code == lock("--check").exit_code == 0


class TestAlarms:
    """A file that changed under its unchanged URL."""

    @pytest.mark.parametrize("options", [(), ("--check",)])
    def test_it_is_21_and_not_written(self, lock: Command, image: LockedImage, changed: str, options: tuple[str, ...]) -> None:
        before = lock.path.read_bytes()
        done = lock(*options)
        assert done.exit_code == ALARM
        assert f"! file            {URL.format(name=image.name)}  changed under an unchanged URL, NOT ACCEPTED" in done.stdout
        assert f"-> {changed}" in done.stdout
        assert f"--accept {changed}" in done.stderr
        assert lock.path.read_bytes() == before

    def test_it_is_written_once_a_person_accepts_its_hash(self, lock: Command, changed: str) -> None:
        old = read_lock(lock.path)
        done = lock("--accept", changed)
        assert done.exit_code == 0, done.stderr
        assert "a person accepted it" in done.stdout
        new = read_lock(lock.path)
        assert old is not None
        assert new is not None
        assert (new.files[0].sha256, new.files[0].replaces) == (changed, old.files[0].sha256)
        assert f"replaces: {old.files[0].sha256}" in lock.path.read_text()
        assert lock("--check").exit_code == 0

    def test_another_hash_accepts_nothing(self, lock: Command, changed: str) -> None:
        assert lock("--accept", "ab" * 32).exit_code == ALARM

    def test_as_json_it_is_one_document(self, lock: Command, changed: str) -> None:
        exit_code, report = lock.json("--check")
        assert exit_code == ALARM
        (image,) = report["images"]
        assert (image["alarm"], image["outdated"], image["written"]) == (True, True, False)
        (change,) = image["changes"]
        assert (change["kind"], change["new"]["digest"]) == ("changed-under-unchanged-url", changed)
        assert report["errors"][0]["error"] == "UpstreamChangedError"


def test_a_hash_that_no_file_has_is_not_swallowed(lock: Command) -> None:
    done = lock("--accept", "ab" * 32)
    assert done.exit_code == UNUSABLE
    assert f"no file changed to the accepted sha256 {'ab' * 32}" in done.stderr


@pytest.mark.parametrize("text", ["ab", "x" * 64, "https://example.com/file"])
def test_what_is_no_hash_is_refused_before_anything_is_fetched(lock: Command, text: str) -> None:
    done = lock("--accept", text)
    assert done.exit_code == USAGE
    assert "64 hexadecimal" in done.stderr
    assert not lock.path.exists()


def test_json_of_a_lock_that_is_written(image: LockedImage, lock: Command) -> None:
    exit_code, report = lock.json()
    assert exit_code == 0
    assert report["errors"] == []
    (entry,) = report["images"]
    assert (entry["image"], entry["lock"], entry["written"]) == (image.name, str(lock.path), True)
    assert {change["kind"] for change in entry["changes"]} == {"added"}
    assert lock.json("--check") == (
        0,
        {"images": [{**entry, "written": False, "outdated": False, "definition_changed": False, "changes": []}], "errors": []},
    )


@pytest.fixture
def feed(tmp_path: Path) -> str:
    """A feed file with one update for July's base."""
    update = {
        "kb": "KB5120242",
        "windows_build": 20348,
        "kind": "cumulative",
        # The command looks at the feed as of now.
        "released": (datetime.now(UTC) - timedelta(days=2)).date().isoformat(),
        "fixed_build": "20348.5499",
        "url": "https://updates.example.com/windows10.0-kb5120242-x64-20348.5499.msu",
    }
    path = tmp_path / "feed.yaml"
    path.write_text(yaml.safe_dump({"schema_version": 1, "updates": [update]}))
    return str(path)


def test_a_feed_file_moves_a_definition_that_follows_updates(image: LockedImage, lock: Command, feed: str) -> None:
    image.define(base=JULY, follow_updates="b-week")
    done = lock("--feed", feed)
    assert done.exit_code == 0, done.stderr
    assert "+ update          KB5120242  20348.5499" in done.stdout
    assert lock("--feed", feed, "--check").exit_code == 0


def test_a_lock_by_hand_follows_what_it_is_told_to_and_else_what_the_definition_says(image: LockedImage, lock: Command, feed: str) -> None:
    image.define(base=JULY)
    done = lock("--feed", feed, "--follow", "b-week")
    assert done.exit_code == 0, done.stderr
    assert "+ update          KB5120242  20348.5499" in done.stdout
    assert lock("--feed", feed, "--follow", "b-week", "--check").exit_code == 0
    # The definition follows none, so that the month's update would leave the lock.
    left = lock("--feed", feed, "--check")
    assert left.exit_code == MOVED
    assert "- update          KB5120242" in left.stdout
    image.define(base=JULY, follow_updates="b-week")
    assert "KB5120242" not in str(lock.json("--feed", feed, "--follow", "b-week", "--check")[1]["images"][0]["changes"])
    left = lock("--feed", feed, "--follow", "none", "--check")
    assert left.exit_code == MOVED
    assert f"run: winvhd lock {image.name} --follow none" in left.stderr


def test_only_what_a_definition_can_follow_can_be_followed(lock: Command) -> None:
    done = lock("--follow", "d-week")
    assert done.exit_code == USAGE
    assert "b-week" in done.stderr


def test_a_feed_that_is_down_is_23(image: LockedImage, lock: Command, faults: FaultControl) -> None:
    image.define(follow_updates="b-week")
    faults({"point": "origin.fetch", "key": "https://api.msrc.microsoft.com/*", "fault": {"code": "down", "status": 503}, "times": None})
    done = lock("--check")
    assert done.exit_code == 23
    assert "HTTP 503" in done.stderr


def test_one_image_that_fails_does_not_stop_the_others(image: LockedImage, lock: Command) -> None:
    broken = LockedImage(image.folder, f"{image.name}-broken", image.cloud)
    broken.define(packages=[{"url": "https://packages.example.com/does-not-exist-v1.zip", "destination": "C:\\akse-cache\\x\\"}])
    done = CliRunner().invoke(app, ["lock", str(broken.file), str(image.file), "--profile", "local"])
    assert done.exit_code == 14
    assert "does-not-exist-v1.zip" in done.stderr
    assert f"{image.name}: wrote" in done.stdout
    assert lock.path.exists()


@pytest.mark.parametrize("arguments", [[], ["windows-2025", "--all"]])
def test_images_are_named_or_all_are_meant(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["lock", *arguments, "--profile", "local"])
    assert done.exit_code == USAGE
    assert "--all" in done.stderr
    assert "windows-2025" in done.stderr
