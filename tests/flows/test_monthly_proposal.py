"""What a monthly run on Azure leaves for a person: a patch, and a branch of the repository; the checkout stays as it is."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from images.errors import ConfigurationError
from images.loading import load_definition
from images.lock import LockOrigin
from infra.azure.layer_lease import try_acquire
from infra.azure.session import Cloud, open_cloud
from infra.background import BackgroundProcess
from infra.profiles import load_profile
from tasks.lock_file import lock_path, render_lock, write_lock
from tasks.make_lock import make_lock
from tasks.monthly_turn import SCOPE, turn_digest
from tests.faults.conftest import bare
from tests.flow_attempt import attempt, new_run
from tests.months import MonthlyRun, another_day, monthly_run, pretend
from tests.standin_fixtures import SMALL, write_definition
from tests.unit.git.serving import GitServer, run_git, serving

NAME, BLOCK, TOKEN = "monthly-azure", "monthly-locks", "ghp_tokenOfTheMonthlyTests0123"
BRANCH, LOCK = "locks/2026-08-b-week", f"images/definitions/{NAME}.lock.yaml"
Go = Callable[..., MonthlyRun]


@dataclass(frozen=True)
class Place:
    """A definition with its committed lock, the repository that holds both, and the August run."""

    definition: Path
    committed: str
    server: GitServer
    run: MonthlyRun
    go: Go

    @property
    def lock(self) -> Path:
        return lock_path(self.definition, LockOrigin.PUBLIC)


def _azure_profile(path: Path) -> None:
    """The stand-in as the azure profile: nothing but endpoints and credential are other ones."""
    profile = load_profile("local")
    content = json.loads(profile.model_dump_json()) | {"name": "azure", "source_address": "127.0.0.1"}
    for stored, access in ((content["storage"], profile.storage), *zip(content["copy_targets"], profile.copy_targets, strict=True)):
        assert access.key is not None
        stored["key"] = access.key.get_secret_value()
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def _save_block(name: str, server: GitServer, token: str) -> None:
    from infra.prefect.git_credentials import GitCredentials

    block = GitCredentials(repository_url=server.url, token=SecretStr(token))
    block.save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]


def _repository(folder: Path, text: str) -> Path:
    """A bare repository whose main branch holds the lock."""
    bare_folder, work = folder / "locks.git", folder / "work"
    for path in (bare_folder, work / "images" / "definitions"):
        path.mkdir(parents=True)
    run_git(bare_folder, "init", "--bare", "--quiet", "--initial-branch=main")
    run_git(bare_folder, "config", "http.receivepack", "true")
    run_git(work, "init", "--quiet")
    (work / LOCK).write_text(text, encoding="utf-8")
    run_git(work, "add", "--force", ".")
    run_git(work, "commit", "--quiet", "-m", "July's lock")
    run_git(work, "push", "--quiet", str(bare_folder), "HEAD:refs/heads/main")
    return bare_folder


@pytest.fixture(scope="module")
def place(stand_in: BackgroundProcess, prefect_api: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("monthly-azure")
    definition = write_definition(folder, **bare(NAME, base={**SMALL["base"], "version": "20348.*"}, e2e_suites=["first-boot"]))
    _azure_profile(folder / "azure.yaml")
    with pytest.MonkeyPatch.context() as patch, open_cloud(load_profile("local")) as cloud, another_day(cloud):
        patch.setenv("WINVHD_AZURE_PROFILE", str(folder / "azure.yaml"))
        pretend(cloud, "2026-07-22")
        lock = make_lock(load_definition(definition), cloud, LockOrigin.PUBLIC, as_of=datetime(2026, 7, 22, tzinfo=UTC))
        write_lock(lock, lock_path(definition, LockOrigin.PUBLIC))
        with serving(_repository(folder, render_lock(lock)), username="x-access-token", token=TOKEN) as server:
            _save_block(BLOCK, server, TOKEN)
            _save_block(f"{BLOCK}-refused", server, "another token")

            def go(credentials: str = BLOCK) -> MonthlyRun:
                return monthly_run(cloud, "2026-08-12", str(definition), cloud="azure", git_credentials=credentials)

            yield Place(definition, render_lock(lock), server, go(), go)


def test_the_lock_is_pushed_as_a_branch_of_one_commit(place: Place) -> None:
    result = place.run.result
    assert (place.run.outcome, result["branch"], result["changed_locks"]) == ("Completed", BRANCH, 1)
    assert place.server.log(BRANCH) == ["locks: 2026-08 B release", "July's lock"]
    assert result["commit"] == run_git(place.server.repository, "rev-parse", BRANCH)
    pushed = place.server.text(BRANCH, LOCK)
    assert "kb: KB5120242" in pushed
    assert "origin: public" in pushed
    body = run_git(place.server.repository, "log", "-1", "--format=%b", BRANCH)
    assert f"{NAME}: 20348.5499 KB5120241, KB5120242, KB5120705" in body
    assert f"(branch {BRANCH})" in place.run.report


def test_the_checkout_keeps_the_lock_that_it_had(place: Place) -> None:
    assert place.lock.read_text(encoding="utf-8") == place.committed
    assert run_git(place.server.repository, "show", f"main:{LOCK}") == place.committed.strip()


def test_the_patch_gives_a_clone_the_very_lock_of_the_branch(place: Place, tmp_path: Path) -> None:
    run_git(tmp_path, "clone", "--quiet", str(place.server.repository), "clone")
    run_git(tmp_path / "clone", "apply", "--check", place.run.result["patch"])
    run_git(tmp_path / "clone", "apply", place.run.result["patch"])
    assert (tmp_path / "clone" / LOCK).read_text(encoding="utf-8").strip() == place.server.text(BRANCH, LOCK)


def test_what_is_proposed_copies_the_very_image_once_the_lock_is_merged(place: Place) -> None:
    from flows.build_image import build_image
    from flows.choices import ImageChoice

    assert f"winvhd build {NAME} --profile azure --copy-to" in place.run.report
    place.lock.write_text(place.server.text(BRANCH, LOCK) + "\n", encoding="utf-8")
    try:
        result = build_image(ImageChoice(place.definition), "azure", "winvhdcopy/monthly")
    finally:
        place.lock.write_text(place.committed, encoding="utf-8")
    assert (result["unchanged"], result["image_version"]) == (True, place.run.rows[NAME]["version"])
    assert result["copied_to"]


def test_a_second_run_builds_nothing_and_adds_nothing_to_the_branch(place: Place) -> None:
    again = place.go()
    assert (again.outcome, again.vms) == ("Nothing changed", 0)
    # The lock still waits for its review.
    assert again.result["changed_locks"] == 1
    assert again.result["commit"] == place.run.result["commit"]
    assert place.server.log(BRANCH) == ["locks: 2026-08 B release", "July's lock"]


def test_a_block_that_is_missing_stops_the_run_before_it_begins(place: Place) -> None:
    missing = place.go("nowhere")
    with pytest.raises(ConfigurationError, match="called nowhere"):
        _ = missing.result
    assert missing.vms == 0
    assert "refresh-locks" not in " ".join(missing.attempt.steps())


def test_a_repository_that_refuses_costs_the_branch_and_nothing_else(place: Place) -> None:
    refused = place.go(f"{BLOCK}-refused")
    with pytest.raises(ConfigurationError, match="can not read the branches") as caught:
        _ = refused.result
    assert "another token" not in str(caught.value)
    assert "kb: KB5120242" in refused.patch
    assert str(refused.files[0]) in caught.value.kept
    assert refused.rows[NAME]["outcome"] == "unchanged"


def test_the_token_is_nowhere_in_what_the_runs_left(place: Place, workplace: Path) -> None:
    done = subprocess.run(["grep", "-rlF", TOKEN, str(workplace / "out")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def test_the_second_of_two_runs_at_once_leaves_the_month_to_the_first(place: Place, cloud: Cloud) -> None:
    first = try_acquire(cloud, scope=SCOPE, fingerprint=turn_digest("2026-08", "b-week"), holder="1111-2222")
    assert first is not None
    with first:
        second = place.go()
    assert (second.outcome, second.vms, second.files) == ("Skipped", 0, ())
    assert second.attempt.state.message == "run 1111-2222 is at work on 2026-08 b-week"
    assert second.result == {"skipped": "1111-2222"}


def test_a_retry_waits_for_the_lease_of_its_own_earlier_process(place: Place, cloud: Cloud) -> None:
    from flows.monthly_patch_build import monthly_patch_build

    run = new_run(monthly_patch_build, images=[str(place.definition)], as_of="2026-08-12T20:00:00+00:00", cloud="azure")
    earlier = try_acquire(cloud, scope=SCOPE, fingerprint=turn_digest("2026-08", "b-week"), holder=str(run))
    assert earlier is not None
    timer = threading.Timer(1.5, earlier.release)
    timer.start()
    try:
        assert attempt(monthly_patch_build, run).state.name == "Nothing changed"
    finally:
        timer.join()
