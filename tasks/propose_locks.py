"""The locks that a monthly run resolved anew, left for a person to take: as a patch, and with credentials as a branch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from images.errors import BuildError, ConfigurationError, MissingToolError
from images.updates.month_report import MonthReport
from infra.checkout import make_folder, output_folder
from infra.git.lock_branch import PushedBranch, branch_name, lock_branch
from infra.git.lock_patch import lock_patch
from infra.prefect.git_credentials import git_remote
from tasks.progress import run_logger
from tasks.refresh_locks import MonthLocks
from tasks.step_task import step_task


@dataclass(frozen=True)
class LockProposal:
    """Where the changed locks are, neither when none changed; `error` says why there is no branch although one was asked for."""

    patch: Path | None = None
    branch: PushedBranch | None = None
    files: int = 0
    error: BuildError | None = None

    def result(self) -> dict[str, str | int | None]:
        """As plain JSON values."""
        return {
            "changed_locks": self.files,
            "patch": str(self.patch) if self.patch else None,
            "branch": self.branch.branch if self.branch else None,
            "commit": self.branch.commit if self.branch else None,
        }


@step_task("propose-locks", "Propose the changed locks")
def propose_locks(report: MonthReport, locks: MonthLocks, git_credentials: str) -> LockProposal:
    """The changed locks as a patch file under out/, and as a branch when a Git credentials block is named.

    Only locks of images that were built and tested with them, or had been before: merging the lock of an image that failed would hand the
    failure to every later build. A repository that refuses is told in the proposal, since the images are built by now. Raises
    ConfigurationError when out/ can not be written.
    """
    files = locks.changed_files({row.image for row in report.rows if row.outcome != "failed"})
    if not files:
        run_logger().info("no lock to propose")
        return LockProposal()
    path = make_folder(output_folder() / "monthly") / f"{report.name}.patch"
    path.write_text(lock_patch(files), encoding="utf-8")
    run_logger().info("%d locks changed: %s", len(files), path)
    if not git_credentials:
        return LockProposal(path, None, len(files))
    lines = [f"{row.image}: {row.windows} {', '.join(row.marked_kbs)}".rstrip() for row in report.rows if row.outcome != "failed"]
    message = "\n".join([f"locks: {report.title}", "", report.summary(), "", *lines, ""])
    try:
        branch = lock_branch(git_remote(git_credentials), branch_name(report.month, report.kind), files, message)
    except (ConfigurationError, MissingToolError) as error:
        error.kept = f"the images are built, and their locks are in {path}"
        run_logger().error("no branch: %s", error)
        return LockProposal(path, None, len(files), error)
    run_logger().info("branch %s at %s", branch.branch, branch.commit[:12])
    return LockProposal(path, branch, len(files))
