"""The logs of a guest whose link does not answer, through Azure's Run Command."""

from __future__ import annotations

import secrets
from pathlib import Path

from images.errors import GuestLinkError
from infra.guest.contact import RunCommand
from infra.guest.package import SCRIPTS_FOLDER
from infra.redaction import redact

GUEST_LOG = "Get-GuestLog.ps1"
ATTEMPTS = 2


def guest_log(run_command: RunCommand, *, attempts: int = ATTEMPTS, scripts: Path = SCRIPTS_FOLDER) -> str:
    """The ends of setup's, WinRM's and the last run's logs, up to 4,096 bytes; an answer with another nonce is asked again.

    Raises GuestLinkError when the guest gives none; CloudError comes through.
    """
    script = (scripts / GUEST_LOG).read_text(encoding="utf-8-sig")
    for _ in range(attempts):
        nonce = secrets.token_hex(8)
        outcome = run_command(script, {"nonce": nonce}, {})
        text, _, last = outcome.output.rstrip().rpartition("\n")
        if outcome.exit_code == 0 and last.strip() == nonce:
            return redact(text)
    raise GuestLinkError("the guest gives no logs through Run Command", where=GUEST_LOG, hint="its VM agent may hang, too")
