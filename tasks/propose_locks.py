"""The locks that a monthly run resolved anew, left for a person to take: as a patch, and with credentials as a branch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    """Where the changed locks are; neither when none changed."""

    patch: Path | None = None
    branch: PushedBranch | None = None
    files: int = 0

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

    Raises ConfigurationError when that block is missing or its repository refuses the branch, MissingToolError without git.
    """
    files = locks.changed_files()
    if not files:
        run_logger().info("no lock changed")
        return LockProposal()
    path = make_folder(output_folder() / "monthly") / f"{report.month}-{report.kind}.patch"
    path.write_text(lock_patch(files), encoding="utf-8")
    run_logger().info("%d locks changed: %s", len(files), path)
    if not git_credentials:
        return LockProposal(path, None, len(files))
    message = f"locks: {report.title}\n\n{report.summary()}\n"
    branch = lock_branch(git_remote(git_credentials), branch_name(report.month, report.kind), files, message)
    run_logger().info("branch %s at %s", branch.branch, branch.commit[:12])
    return LockProposal(path, branch, len(files))
