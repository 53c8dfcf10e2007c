"""The monthly run from June to August: what the months bring is built, tested and told, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.session import Cloud, open_cloud
from infra.background import BackgroundProcess
from infra.profiles import load_profile
from tasks.lock_file import read_lock
from tests.faults.conftest import bare
from tests.flow_attempt import checkpoints_of
from tests.months import MonthlyRun, another_day, feed_file, monthly_run
from tests.standin_fixtures import SMALL, write_definition

NEWER, OLDER = "monthly-2022", "monthly-2019"
SERVER_2022 = {**SMALL["base"], "version": "20348.*"}
SERVER_2019 = {**SMALL["base"], "offer": "WindowsServer", "sku": "2019-Datacenter-Core-smalldisk", "version": "17763.8880.260604"}
JULY, AUGUST, PREVIEW = "20348.5386", "20348.5499", "20348.5538"
AUGUST_KB, PREVIEW_KB, AUGUST_KB_OF_2019 = "KB5120242", "KB9485538", "KB9639012"


@dataclass(frozen=True)
class Months:
    """The runs, in their order."""

    july: MonthlyRun
    tuesday_in_tokyo: MonthlyRun
    august: MonthlyRun
    again: MonthlyRun
    preview: MonthlyRun


@pytest.fixture(scope="module")
def months(stand_in: BackgroundProcess, prefect_api: None, workplace: Path) -> Iterator[Months]:
    """Three months of two images: 2022 follows the marketplace, 2019 stays on its base of June."""
    newer = str(write_definition(workplace, **bare(NEWER, base=SERVER_2022, e2e_suites=["first-boot"])))
    older = str(write_definition(workplace, **bare(OLDER, base=SERVER_2019)))
    with open_cloud(load_profile("local")) as cloud, another_day(cloud):
        monthly_run(cloud, "2026-06-24", older)
        yield Months(
            july=monthly_run(cloud, "2026-07-22", newer, older),
            # Noon of the second Tuesday in Tokyo is Monday evening in Redmond.
            tuesday_in_tokyo=monthly_run(cloud, "2026-08-10", newer, older, as_of="2026-08-11T12:00:00+09:00"),
            # And half past two on Wednesday is half an hour after the release.
            august=monthly_run(cloud, "2026-08-11", newer, older, as_of="2026-08-12T02:30:00+09:00"),
            again=monthly_run(cloud, "2026-08-12", newer, older),
            preview=monthly_run(
                cloud, "2026-08-26", newer, older, kind="preview", feed=feed_file(cloud, "2026-08-26", workplace / "feed.yaml")
            ),
        )


@pytest.fixture
def opened(months: Months, cloud: Cloud) -> Cloud:
    return cloud


def built(run: MonthlyRun) -> dict[str, str]:
    return {image: row["outcome"] for image, row in run.rows.items()}


def test_a_month_without_a_release_is_told_in_the_table_and_builds_nothing(months: Months) -> None:
    row = months.july.rows[OLDER]
    assert (row["outcome"], row["Windows"]) == ("unchanged", "17763.8880")
    assert "no B release for Windows Server 2019 in 2026-07" in row["notes"]


def test_a_first_release_has_the_base_and_no_build_before_it(months: Months) -> None:
    row = months.july.rows[NEWER]
    assert (row["outcome"], row["Windows"], row["KBs"]) == ("built", JULY, "")
    assert months.july.vms == 2


def test_before_the_second_tuesday_of_redmond_nothing_changed(months: Months) -> None:
    early = months.tuesday_in_tokyo
    assert (early.outcome, early.vms) == ("Nothing changed", 0)
    assert early.attempt.state.message == "nothing changed"
    assert "the B release of 2026-08 comes on 2026-08-11" in early.rows[NEWER]["notes"]


def test_the_b_release_is_built_everywhere_and_named(months: Months) -> None:
    august = months.august
    assert (august.outcome, august.attempt.state.message) == ("Completed", "2 built")
    row = august.rows[NEWER]
    assert (row["outcome"], row["Windows"]) == ("built", f"{JULY} → {AUGUST}")
    # The cumulative update, the servicing stack that is installed before it, and .NET.
    assert row["KBs"] == "KB5120241, KB5120242, KB5120705"
    assert row["CVEs"] > 0
    assert (row["tests passed"], row["minutes"] > 0) == (4, True)
    assert row["VHD"].endswith("/image.vhd")
    assert august.rows[OLDER]["Windows"] == "17763.8880 → 17763.9012"
    assert AUGUST_KB_OF_2019 in august.rows[OLDER]["KBs"]
    assert august.result["rows"] == list(august.rows.values())


def test_report_and_release_notes_name_the_kbs_and_what_they_fix(months: Months, opened: Cloud) -> None:
    report = months.august.report
    assert report.startswith("# 2026-08 B release: 2 built\n")
    assert f"- {AUGUST_KB}\n" in report
    assert "vulnerabilities: CVE-2026-" in report
    (file,) = (file for file in months.august.files if file.suffix == ".md")
    with opened.blobs().get_container_client(BUILDS_CONTAINER) as container:
        # Other tests of the session have months of August of their own.
        assert container.download_blob(f"monthly/{file.name}").readall().decode() == report
    assert file.name.startswith("2026-08-b-week-")
    assert file.read_text() == report
    build = months.august.rows[NEWER]["VHD"].split("/")[-2]
    notes = (file.parent.parent / build / "release-notes.md").read_text()
    assert f"Fixes that came with Windows {AUGUST}" in notes
    assert f"| {AUGUST_KB} | {AUGUST} | 2026-08-11 | CVE-2026-" in notes
    assert "| KB5120705 |  | 2026-08-11 |" in notes
    assert "What changed since 20348.5386." in notes


def test_publication_is_proposed_and_left_to_a_person(months: Months, opened: Cloud) -> None:
    assert "## Proposed for publication" in months.august.report
    assert f"winvhd build {NEWER} --profile local --copy-to ACCOUNT/CONTAINER" in months.august.report
    # An image that no test has seen is not proposed.
    assert f"winvhd build {OLDER} " not in months.august.report
    (target,) = opened.profile.copy_targets
    with opened.blobs(target) as blobs:
        copied = [blob.name for container in blobs.list_containers() for blob in blobs.get_container_client(container.name).list_blobs()]
    assert [name for name in copied if "monthly-" in name] == []


def test_only_the_layer_with_the_updates_and_those_above_it_are_built(months: Months, opened: Cloud) -> None:
    assert months.august.attempt.reused_layers(NEWER) == []
    assert months.august.attempt.saved_layers(NEWER) == sorted(checkpoints_of(opened, NEWER), reverse=True)


def test_the_changed_locks_are_one_patch(months: Months) -> None:
    patch = months.august.patch
    assert f"--- a/out/locks/{NEWER}.lock.yaml" in patch
    assert f"+- kb: {AUGUST_KB}\n" in patch
    assert months.august.result["changed_locks"] == 2
    assert months.august.result["branch"] is None
    assert Path(months.august.result["patch"]) in months.august.files


def test_the_same_again_changes_nothing_and_hides_nothing(months: Months) -> None:
    again = months.again
    assert (again.outcome, again.vms, again.files) == ("Nothing changed", 0, ())
    assert built(again) == {NEWER: "unchanged", OLDER: "unchanged"}
    row = again.rows[NEWER]
    # Nothing came, and the image is the one of the run before.
    assert (row["Windows"], row["KBs"], row["CVEs"]) == (AUGUST, "", 0)
    assert (row["version"], row["VHD"]) == (months.august.rows[NEWER]["version"], months.august.rows[NEWER]["VHD"])
    assert again.report.endswith("Nothing to publish.\n")


def test_a_preview_is_marked_wherever_it_is_named(months: Months, workplace: Path) -> None:
    run, row = months.preview, months.preview.rows[NEWER]
    assert (row["outcome"], row["Windows"], row["KBs"]) == ("built", f"{AUGUST} → {PREVIEW}", f"{PREVIEW_KB} (preview)")
    assert row["version"].endswith(" (preview)")
    assert run.report.startswith("# 2026-08 optional previews: 1 built, 1 unchanged\n")
    assert f"- {PREVIEW_KB} (preview)\n" in run.report
    assert "(preview) hold **optional previews**" in run.report
    assert {file.name.partition("-2026-08-")[0][:15] for file in run.files} == {"2026-08-preview"}
    assert "+  preview: true\n" in run.patch
    lock = read_lock(workplace / "out" / "locks" / f"{NEWER}.lock.yaml")
    assert lock is not None
    assert [update.kb for update in lock.updates if update.preview] == [PREVIEW_KB]
    build = row["VHD"].split("/")[-2]
    notes = (workplace / "out" / build / "release-notes.md").read_text()
    assert f"**Holds an optional preview ({PREVIEW_KB}), which is not a security release.**" in notes
    assert f"| {PREVIEW_KB} (preview) | {PREVIEW} |" in notes
    assert "preview" in json.dumps(json.loads((workplace / "out" / build / "sbom.cdx.json").read_text()))


def test_a_product_without_a_preview_is_told_and_left_as_it_is(months: Months) -> None:
    row = months.preview.rows[OLDER]
    assert (row["outcome"], row["Windows"]) == ("unchanged", "17763.9012")
    assert "no preview for Windows Server 2019 in 2026-08" in row["notes"]
    assert "preview" not in row["version"]


def test_a_month_of_the_feed_is_read_once_for_all_images(months: Months) -> None:
    documents = [url for url in months.august.asked if "/cvrf/" in url.partition("cvrf/v3.0")[2]]
    assert "https://api.msrc.microsoft.com/cvrf/v3.0/cvrf/2026-Aug" in documents
    assert len(documents) == len(set(documents))
    # A feed file takes the place of Microsoft's.
    assert months.preview.asked == ()


def test_every_run_has_one_table_of_all_images(months: Months) -> None:
    for run in (months.july, months.august, months.again, months.preview):
        assert list(run.rows) == [NEWER, OLDER]
        columns = ["image", "outcome", "Windows", "KBs", "CVEs", "tests passed", "minutes", "version", "VHD", "notes"]
        assert all(list(row) == columns for row in run.rows.values())
