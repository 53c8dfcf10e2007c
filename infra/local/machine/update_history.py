r"""The Windows Update agent's history: C:\Windows\SoftwareDistribution\ReportingEvents.log, tab-separated, one event a line."""

from __future__ import annotations

import uuid
from datetime import datetime

from infra.local.machine.disk import MachineDisk

_LOG = r"C:\Windows\SoftwareDistribution\ReportingEvents.log"
_SUCCESS = "Installation Successful: Windows successfully installed the following update: "


def add_history(disk: MachineDisk, title: str, now: datetime) -> None:
    """Note that an update with this title was installed."""
    identity = "{" + str(uuid.uuid5(uuid.NAMESPACE_URL, title)).upper() + "}"
    moment = now.strftime("%Y-%m-%d %H:%M:%S:000+0000")
    fields = (identity, moment, "1", "183 [AGENT_INSTALLING_SUCCEEDED]", "101", identity, "200", "0", "winvhd", "Success")
    line = "\t".join((*fields, "Content Install", _SUCCESS + title)) + "\r\n"
    file = disk.path(_LOG)
    before = file.read_bytes().decode("utf-16") if file.exists() else ""
    disk.write(_LOG, (before + line).encode("utf-16"))


def history_titles(disk: MachineDisk) -> tuple[str, ...]:
    """Titles of all updates in the history, sorted, each once."""
    file = disk.path(_LOG)
    if not file.exists():
        return ()
    lines = file.read_text(encoding="utf-16").splitlines()
    return tuple(sorted({line.partition(_SUCCESS)[2] for line in lines if _SUCCESS in line}))
