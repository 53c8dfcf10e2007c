"""A definition that follows updates gets those that its base lacks, from Microsoft's feed or a file, and reasons for the others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import yaml

from images.definition import FollowedUpdates
from images.errors import ArtifactError, DefinitionError, FeedError
from images.lock import ImageLock
from images.lock_diff import ChangeKind, LockEntry
from images.plan import make_plan
from images.updates.update_note import UpdateNote
from infra.guest.package import guest_scripts
from tasks.lock_file import read_lock
from tests.contract.lock.conftest import LockedImage
from tests.standin_fixtures import SMALL, FaultControl

JULY = {**SMALL["base"], "version": "20348.5386.260709"}
AUGUST = {**SMALL["base"], "version": "20348.5499.260809"}
SERVER_2025 = {**SMALL["base"], "offer": "WindowsServer", "sku": "2025-datacenter-core-smalldisk"}
FEED_HOST, CATALOG_HOST = "https://api.msrc.microsoft.com/*", "https://www.catalog.update.microsoft.com/*"


def _day(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}T20:00:00+00:00")


def _kbs(lock: ImageLock) -> dict[str, str | None]:
    """build.UBR by KB, in the order of the lock."""
    return {update.kb: update.build for update in lock.updates}


def _down(host: str) -> dict[str, object]:
    return {"point": "origin.fetch", "key": host, "fault": {"code": "down", "status": 503}, "times": None}


@pytest.fixture
def feed_file(image: LockedImage, tmp_path: Path) -> Path:
    """All that the stand-in's Microsoft released, previews and URLs included, as a feed file."""
    path = tmp_path / "feed.yaml"
    path.write_text(httpx.get(f"{image.cloud.profile.outside_gateway}/.feed", timeout=30).raise_for_status().text, encoding="utf-8")
    return path


def _feed_of(path: Path, **changes: Any) -> str:
    """A feed file with one cumulative update for July's base."""
    update = {
        "kb": "KB5120242",
        "windows_build": 20348,
        "kind": "cumulative",
        "released": "2026-08-11",
        "fixed_build": "20348.5499",
        "url": "https://updates.example.com/2026/08/windows10.0-kb5120242-x64-20348.5499.msu",
    }
    content = {name: value for name, value in {**update, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump({"schema_version": 1, "updates": [content]}), encoding="utf-8")
    return str(path)


def test_a_definition_that_follows_nothing_asks_no_feed(image: LockedImage, faults: FaultControl) -> None:
    image.define(base=JULY)
    faults(_down(FEED_HOST))
    assert image.refresh().new.updates == ()
    assert sum(faults.struck().values()) == 0


class TestBWeek:
    """Security releases, from Microsoft's feed; files come from the Update Catalog."""

    def test_what_the_base_lacks_is_locked_with_file_and_build(self, image: LockedImage) -> None:
        image.define(base=JULY, follow_updates="b-week")
        lock = image.lock().new
        assert _kbs(lock)["KB5120242"] == "20348.5499"
        (cumulative,) = [update for update in lock.updates if update.kb == "KB5120242"]
        assert cumulative.file is not None
        assert cumulative.file.url.endswith(".msu")
        assert cumulative.file.size_bytes > 0
        assert not cumulative.preview
        assert not image.refresh().difference

    def test_the_plan_installs_what_the_lock_holds_although_the_definition_lists_nothing(self, image: LockedImage) -> None:
        image.define(base=JULY, follow_updates="b-week")
        assert image.definition.updates == ()
        plan = make_plan(image.definition, image.lock().new, scripts=guest_scripts())
        (stage,) = [stage for stage in plan.stages if stage.stage == "install-update"]
        assert stage.input["promised_build"] == "20348.5499"

    def test_a_base_that_contains_them_gets_none_and_the_notes_say_so(self, image: LockedImage) -> None:
        image.define(base=AUGUST, follow_updates="b-week")
        refreshed = image.refresh()
        assert refreshed.new.updates == ()
        assert UpdateNote(kb="KB5120242", text="left out, already in the base, which is at 20348.5499") in refreshed.notes

    def test_the_months_between_are_superseded_and_said_so(self, image: LockedImage) -> None:
        image.define(base={**SMALL["base"], "version": "20348.5256.260609"}, follow_updates="b-week")
        refreshed = image.refresh()
        assert [kb for kb, build in _kbs(refreshed.new).items() if build] == ["KB5120242"]
        assert any(note.text == "left out, replaced by KB5120242" for note in refreshed.notes)

    def test_nothing_is_seen_before_its_release(self, image: LockedImage) -> None:
        image.define(base=JULY, follow_updates="b-week")
        before = image.refresh(as_of=_day("2026-08-10"))
        assert before.new.updates == ()
        assert UpdateNote(text="the B release of 2026-08 comes on 2026-08-11") in before.notes

    def test_a_month_moves_the_lock_and_the_difference_names_the_update(self, image: LockedImage) -> None:
        image.define(base=JULY, follow_updates="b-week")
        image.lock(as_of=_day("2026-08-10"))
        moved = image.refresh(as_of=_day("2026-08-12"))
        added = [(change.kind, change.name) for change in moved.difference.changes if change.entry is LockEntry.UPDATE]
        assert (ChangeKind.ADDED, "KB5120242") in added
        assert not moved.difference.alarms

    def test_a_month_without_a_release_is_no_error(self, image: LockedImage) -> None:
        base = {**SMALL["base"], "offer": "WindowsServer", "sku": "2019-Datacenter-Core-smalldisk", "version": "17763.4737.230808"}
        image.define(base=base, follow_updates="b-week")
        assert UpdateNote(text="no B release for Windows Server 2019 in 2026-07") in image.refresh(as_of=_day("2026-07-20")).notes

    def test_a_checkpoint_lies_beside_the_update_that_builds_on_it(self, image: LockedImage) -> None:
        image.define(base={**SERVER_2025, "version": "26100.33296.260809"}, follow_updates="b-week")
        refreshed = image.refresh(as_of=_day("2026-11-15"))
        checkpoint, target = (update for update in refreshed.new.updates if update.build)
        assert (checkpoint.checkpoint, checkpoint.build, target.checkpoint) == (True, "26100.33580", False)
        assert checkpoint.file is not None
        assert target.file is not None
        assert not any(note.kb == checkpoint.kb for note in refreshed.notes)
        plan = make_plan(image.definition, refreshed.new, scripts=guest_scripts())
        (stage,) = [stage for stage in plan.stages if stage.stage == "install-update"]
        files: Any = stage.input["updates"]
        assert {file["kb"]: file["checkpoint"] for file in files if file["build"]} == {checkpoint.kb: True, target.kb: False}

    @pytest.mark.parametrize("host", [FEED_HOST, CATALOG_HOST])
    def test_a_feed_or_a_catalog_that_is_down_moves_nothing(self, image: LockedImage, faults: FaultControl, host: str) -> None:
        image.define(base=JULY, follow_updates="b-week")
        first = image.lock(as_of=_day("2026-08-10"))
        faults(_down(host))
        with pytest.raises(FeedError, match="HTTP 503") as caught:
            image.refresh()
        assert caught.value.hint
        assert read_lock(first.path) == first.new


class TestPreviews:
    """Optional previews, which Microsoft's feed does not have."""

    @pytest.fixture(autouse=True)
    def _follows_previews(self, image: LockedImage) -> None:
        image.define(base={**SERVER_2025, "version": "26100.33158.260713"}, follow_updates="preview")

    def _newest(self, image: LockedImage, feed: Path, day: str) -> tuple[str | None, bool]:
        last = [update for update in image.refresh(feed_source=str(feed), as_of=_day(day)).new.updates if update.build][-1]
        return last.build, last.preview

    def test_they_are_marked_as_previews_and_replace_the_b_release(self, image: LockedImage, feed_file: Path) -> None:
        assert self._newest(image, feed_file, "2026-08-20") == ("26100.33296", False)
        assert self._newest(image, feed_file, "2026-08-26") == ("26100.33335", True)

    def test_one_stays_until_the_next_b_release(self, image: LockedImage, feed_file: Path) -> None:
        assert self._newest(image, feed_file, "2026-09-07") == ("26100.33335", True)
        assert self._newest(image, feed_file, "2026-09-09") == ("26100.33441", False)

    def test_a_month_without_one_is_no_error(self, image: LockedImage, feed_file: Path) -> None:
        notes = image.refresh(feed_source=str(feed_file), as_of=_day("2026-08-20")).notes
        assert UpdateNote(text="no preview for Windows Server 2025 in 2026-08 so far") in notes

    def test_a_monthly_run_may_ask_for_them_where_the_definition_does_not(self, image: LockedImage, feed_file: Path) -> None:
        image.define(base={**SERVER_2025, "version": "26100.33158.260713"})
        options = {"feed_source": str(feed_file), "as_of": _day("2026-08-26")}
        assert image.refresh(**options).new.updates == ()
        assert any(update.preview for update in image.refresh(**options, follow=FollowedUpdates.PREVIEW).new.updates)


class TestFeedFiles:
    """A feed file of one's own."""

    def test_its_url_is_locked_and_its_hash_is_ours(self, image: LockedImage, tmp_path: Path) -> None:
        image.define(base=JULY, follow_updates="b-week")
        (update,) = image.refresh(feed_source=_feed_of(tmp_path / "feed.yaml")).new.updates
        assert update.file is not None
        assert update.file.url.endswith("kb5120242-x64-20348.5499.msu")
        promised = _feed_of(tmp_path / "feed.yaml", sha256=update.file.sha256)
        assert image.refresh(feed_source=promised).new.updates == (update,)

    def test_a_hash_that_the_bytes_do_not_have_is_refused(self, image: LockedImage, tmp_path: Path) -> None:
        image.define(base=JULY, follow_updates="b-week")
        with pytest.raises(ArtifactError, match=f"the feed promises {'ab' * 32}"):
            image.refresh(feed_source=_feed_of(tmp_path / "feed.yaml", sha256="ab" * 32))

    def test_an_update_without_url_is_left_to_the_windows_update_agent(self, image: LockedImage, tmp_path: Path) -> None:
        image.define(base=JULY, follow_updates="b-week")
        refreshed = image.refresh(feed_source=_feed_of(tmp_path / "feed.yaml", url=None))
        (update,) = refreshed.new.updates
        assert (update.kb, update.file, update.build) == ("KB5120242", None, "20348.5499")
        assert any("through the Windows Update agent" in note.text for note in refreshed.notes)
        plan = make_plan(image.definition, refreshed.new, scripts=guest_scripts())
        assert "install-agent-update" in [stage.stage for stage in plan.stages]

    def test_a_malformed_one_is_shown_with_its_lines(self, image: LockedImage, tmp_path: Path) -> None:
        image.define(base=JULY, follow_updates="b-week")
        with pytest.raises(DefinitionError, match="fixed_build"):
            image.refresh(feed_source=_feed_of(tmp_path / "feed.yaml", fixed_build=None))


class TestListedUpdates:
    """Updates that the definition itself lists, beside those that it follows."""

    STACK: ClassVar = {"kb": "KB5120241", "url": "https://updates.example.com/windows10.0-kb5120241-x64.msu"}

    def test_they_come_first_and_once(self, image: LockedImage, tmp_path: Path) -> None:
        own = {"kb": "KB5120242", "url": "https://mirror.example.com/windows10.0-kb5120242-x64-20348.5499.msu"}
        image.define(base=JULY, follow_updates="b-week", updates=[self.STACK, own])
        first, second = image.refresh(feed_source=_feed_of(tmp_path / "feed.yaml")).new.updates
        assert (first.kb, second.kb, second.build) == ("KB5120241", "KB5120242", "20348.5499")
        assert second.file is not None
        assert second.file.url == own["url"]

    def test_one_that_a_newer_one_replaces_is_left_out_with_the_reason(self, image: LockedImage, feed_file: Path) -> None:
        feed = yaml.safe_load(feed_file.read_text())["updates"]
        (july,) = [update["kb"] for update in feed if update.get("fixed_build") == "20348.5386"]
        listed = {"kb": july, "url": f"https://updates.example.com/windows10.0-{july.lower()}-x64-20348.5386.msu"}
        image.define(base={**SMALL["base"], "version": "20348.5256.260609"}, follow_updates="b-week", updates=[listed])
        refreshed = image.refresh(feed_source=str(feed_file))
        assert july not in _kbs(refreshed.new)
        assert UpdateNote(kb=july, text="left out (the definition lists it), replaced by KB5120242") in refreshed.notes

    def test_without_following_they_are_taken_as_they_are(self, image: LockedImage) -> None:
        image.define(base=JULY, updates=[self.STACK])
        assert list(_kbs(image.refresh(as_of=datetime(2026, 8, 20, tzinfo=UTC)).new)) == ["KB5120241"]
