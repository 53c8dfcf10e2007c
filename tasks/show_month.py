"""What a monthly run shows: one table over all images, the report, and what is proposed for publication."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from images.errors import BuildError
from images.updates.feed import FeedUpdate
from images.updates.month_report import MonthReport, MonthRow
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.checkout import make_folder, output_folder
from tasks.propose_locks import LockProposal
from tasks.refresh_lock import RefreshedLock


def month_row(
    image: str, result: dict[str, Any] | None, error: BuildError | None, lock: RefreshedLock | None, feed: Sequence[FeedUpdate]
) -> MonthRow:
    """What the month brought for one image: `result` of its build, or the error that ended it; `lock` says what is installed.

    For an image that was there already nothing came; for a first release all that its build installed did.
    """
    notes = lock.notes if lock is not None else ()
    if result is None:
        failure = error.what.splitlines()[0] if error is not None else "not reached"
        return MonthRow(image=image, outcome="failed", failure=failure, notes=notes)
    locked = lock.new.updates if lock is not None else ()
    kbs: set[str] = set()
    before = "" if result["unchanged"] else result["previous_os_version"] or ""
    if not result["unchanged"]:
        kbs = set(result["new_kbs"]) if before else {update.kb for update in locked}
    return MonthRow(
        image=image,
        outcome="unchanged" if result["unchanged"] else "built",
        old_build=before,
        new_build=result["os_version"],
        version=result["image_version"],
        kbs=tuple(sorted(kbs)),
        previews=tuple(sorted(update.kb for update in locked if update.preview)),
        cves=tuple(sorted({cve for update in feed if update.kb in kbs for cve in update.cves})),
        tests_passed=result["checks_passed"],
        minutes=round(result["seconds"] / 60, 1),
        link=result["vhd_url"],
        notes=notes,
    )


def show_month(cloud: Cloud, report: MonthReport, proposal: LockProposal) -> None:
    """Keep the report under out/ and in blob storage, and show it as artifacts of the run, where there is one. Raises CloudError.

    A run that changed nothing keeps none: it has nothing to tell that an earlier one has not told.
    """
    text = f"{report.markdown()}\n{_proposed(cloud, report, proposal)}"
    if len(report.of("unchanged")) < len(report.rows):
        _keep(cloud, f"{report.name}.md", text)
    if FlowRunContext.get() is None:
        return
    key = f"{report.month}-{report.kind}"
    create_table_artifact([row.cells() for row in report.rows], key=f"month-{key}", description=f"{report.title}: {report.summary()}")
    create_markdown_artifact(text, key=f"report-{key}", description=report.title)


def _keep(cloud: Cloud, name: str, text: str) -> None:
    (make_folder(output_folder() / "monthly") / name).write_text(text, encoding="utf-8")
    with refusals("keep the monthly report"), cloud.blobs().get_blob_client(BUILDS_CONTAINER, f"monthly/{name}") as blob:
        blob.upload_blob(text.encode(), overwrite=True)


def _proposed(cloud: Cloud, report: MonthReport, proposal: LockProposal) -> str:
    """What a person may do next."""
    built = [row for row in report.of("built") if row.tests_passed]
    where = f"branch {proposal.branch.branch}" if proposal.branch else f"patch {proposal.patch}" if proposal.patch else ""
    if not built:
        return f"Nothing to publish. Changed locks to review: {where}.\n" if where else "Nothing to publish.\n"
    lines = ["## Proposed for publication", ""]
    if any(row.previews for row in built):
        lines += ["Those marked (preview) hold **optional previews**: for those who want fixes early, not for everybody.", ""]
    if where:
        lines += [f"1. Review and merge the locks ({where}).", "2. Copy the images; nothing is built again:", ""]
    profile = cloud.profile.name
    lines += [
        "```",
        *(f"winvhd build {row.image} --profile {profile} --copy-to ACCOUNT/CONTAINER   # {row.cells()['version']}" for row in built),
        "```",
        "",
    ]
    return "\n".join(lines)
