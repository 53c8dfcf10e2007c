"""up.json: which processes `winvhd local up` started on this state folder, and where they answer."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from images.errors import ConfigurationError
from infra.background import BackgroundProcess, process_alive
from infra.checkout import make_folder, state_folder
from infra.prefect.server import api_url_on

PARTS = {"stand-in": b"infra.local", "server": b"server", "worker": b"worker"}
"""The parts in the order in which they start, each with a word that is on its command line."""


@dataclass
class UpRecord:
    """Pids by part; the port of the Prefect server; what was registered with it last."""

    pids: dict[str, int] = field(default_factory=dict)
    port: int | None = None
    registered: str = ""

    @property
    def api_url(self) -> str:
        """URL of the server's API; empty before there was a server."""
        return api_url_on(self.port) if self.port is not None else ""

    @property
    def ui_url(self) -> str:
        """URL of the server's pages; empty before there was a server."""
        return f"http://127.0.0.1:{self.port}/v2/" if self.port is not None else ""

    def alive(self, part: str) -> bool:
        """True while the part that was started runs."""
        pid = self.pids.get(part)
        if pid is None or not process_alive(pid):
            return False
        # A pid may have been given to another program since.
        command = Path(f"/proc/{pid}/cmdline")
        return not command.exists() or PARTS[part] in command.read_bytes().split(b"\0")

    def started(self, part: str, process: BackgroundProcess) -> None:
        """Keep a part's pid at once, so that `local down` finds it even if this command is killed."""
        self.pids[part] = process.pid
        self.save()

    def stop(self, part: str) -> bool:
        """End a part and forget it; True when it was running."""
        running = self.alive(part)
        if running:
            BackgroundProcess(part, self.pids[part], state_folder() / "up.json").stop()
        self.pids.pop(part, None)
        self.save()
        return running

    def save(self) -> None:
        """Write the record."""
        part = _path().with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        part.replace(_path())


def _path() -> Path:
    return state_folder() / "up.json"


def read_record() -> UpRecord:
    """The record of this state folder; an empty one when there is none."""
    try:
        content = json.loads(_path().read_text(encoding="utf-8"))
        pids = {str(part): int(pid) for part, pid in content["pids"].items() if part in PARTS}
        return UpRecord(pids, content["port"], content["registered"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return UpRecord()


@contextmanager
def only_one() -> Iterator[None]:
    """Keep a second `local up` or `local down` on this state folder out; raises ConfigurationError when one is at work."""
    with (make_folder(state_folder()) / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"another `winvhd local` command is at work in {state_folder()}", hint="wait until it has ended"
            ) from error
        yield
