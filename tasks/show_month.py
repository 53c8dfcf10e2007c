"""What a monthly run shows: one table over all images, the report, and what is proposed for publication."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from images.lock import LockedUpdate
from images.updates.feed import FeedUpdate
from images.updates.fixes import fixes_between
from images.updates.month_report import MonthReport, MonthRow
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.checkout import make_folder, output_folder
from tasks.propose_locks import LockProposal
from tasks.refresh_lock import RefreshedLock

if TYPE_CHECKING:
    from images.errors import BuildError


def month_row(
    image: str, result: dict[str, Any] | None, error: BuildError | None, lock: RefreshedLock | None, feed: Sequence[FeedUpdate]
) -> MonthRow:
    """What the month brought for one image: `result` of its build, or the error that ended it; `lock` says what is installed."""
    notes = lock.notes if lock is not None else ()
    if result is None:
        reason = error.what.splitlines()[0] if error is not None else "not reached"
        return MonthRow(image=image, outcome="failed", notes=(reason, *notes))
    locked: tuple[LockedUpdate, ...] = lock.new.updates if lock is not None else ()
    before, after = result["previous_os_version"] or "", result["os_version"]
    gained = fixes_between(feed, before, after) if before else ()
    named = {update.kb for update in gained} | {update.kb for update in locked}
    about = {update.kb: update for update in feed if update.kb in named}
    cves = {cve for kb in named for cve in (about[kb].cves if kb in about else ())}
    return MonthRow(
        image=image,
        outcome="unchanged" if result["unchanged"] else "built",
        old_build=before,
        new_build=after,
        version=result["image_version"],
        kbs=tuple(sorted(named)),
        previews=tuple(sorted(update.kb for update in locked if update.preview)),
        cves=tuple(sorted(cves)),
        tests_passed=result["checks_passed"],
        minutes=round(result["seconds"] / 60, 1),
        link=result["vhd_url"],
        notes=notes,
    )


def show_month(cloud: Cloud, report: MonthReport, proposal: LockProposal) -> None:
    """Keep the report under out/ and in blob storage, and show it as artifacts of the run, where there is one. Raises CloudError."""
    name = f"{report.month}-{report.kind}"
    if len(report.of("unchanged")) < len(report.rows):
        # A run that changed nothing must not hide what the one before it did.
        _keep(cloud, name, report.markdown() + "\n" + _proposal(report, proposal))
    if FlowRunContext.get() is None:
        return
    create_table_artifact([row.cells() for row in report.rows], key=f"month-{name}", description=f"{report.title}: {report.summary()}")
    create_markdown_artifact(report.markdown() + "\n" + _proposal(report, proposal), key=f"report-{name}", description=report.title)


def _keep(cloud: Cloud, name: str, text: str) -> None:
    (make_folder(output_folder() / "monthly") / f"{name}.md").write_text(text, encoding="utf-8")
    with refusals("keep the monthly report"), cloud.blobs().get_blob_client(BUILDS_CONTAINER, f"monthly/{name}.md") as blob:
        blob.upload_blob(text.encode(), overwrite=True)


def _proposal(report: MonthReport, proposal: LockProposal) -> str:
    """What a person may do next."""
    built = [row for row in report.of("built") if row.tests_passed]
    if not built:
        return "Nothing to publish.\n"
    where = f"branch {proposal.branch.branch}" if proposal.branch else f"patch {proposal.patch}" if proposal.patch else ""
    lines = ["## Proposed for publication", ""]
    if report.kind == "preview":
        lines += ["These images hold **optional previews**: for those who want fixes early, not for everybody.", ""]
    if where:
        lines += [f"1. Review and merge the locks ({where}).", "2. Copy the images; nothing is built again:", ""]
    lines += [
        "```",
        *(f"winvhd build {row.image} --profile azure --copy-to ACCOUNT/CONTAINER   # {row.version}" for row in built),
        "```",
        "",
    ]
    return "\n".join(lines)
