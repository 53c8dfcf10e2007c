"""Measures the link: a file sent as `GuestLink.send_file` does it against the usual way, and random schedules of faults.

    python -m tests.bench.bench_link transfer [--megabytes 10] [--rtt-ms 0]
    python -m tests.bench.bench_link faults [--schedules 500]

Prints one JSON object. The usual way is that of the WinRM communicators of image builders (packer's winrmcp): base64 in pieces of 8,000
characters, each an `echo … >> file` of its own, a new shell after 15 of them, and one command at the end that decodes the file. Both ways
talk to the same service, listener and processes of the stand-in over TLS on this machine. What a round trip costs decides: without a
network the usual way waits for nothing but the service, so --rtt-ms puts a line with that round-trip time between (a worker in another
region than its VM has 20 ms and more). Starting a process costs next to nothing here in both ways.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from winrm.protocol import Protocol

from images.errors import BuildError
from infra.guest.link import GuestLink
from infra.guest.package import ScriptPackage, build_package
from infra.guest.transfer import FileContent
from infra.local.guest.process import GuestProcess
from infra.local.guest.wsman.shells import CommandRequest, ShellRequest
from infra.local.machine.base import create_base_disk
from tests.bench.delayed_line import DelayedLine
from tests.contract.guest_link.build_guest import BASE, LIMITS, BuildGuest
from tests.contract.guest_link.random_schedule import run_schedule
from tests.contract.guest_link.scripted_guest import ACCOUNT, PASSWORD, ScriptedGuest

ECHO_CHARACTERS = 8000
COMMANDS_A_SHELL = 15
TARGET = r"C:\akse-cache\file.bin"


class CmdGuest(ScriptedGuest):
    """A guest with as much of cmd.exe as the usual way needs: echo into a file, and a decoder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def start(self, command: CommandRequest, shell: ShellRequest) -> GuestProcess:
        """Run `echo TEXT >> NAME` or `certutil -decode NAME TARGET`."""
        words = command.command_line.split(" ")

        def main(process: GuestProcess) -> int:
            if words[0] == "echo":
                with (self._folder / words[3]).open("a", encoding="ascii") as file:
                    file.write(words[1] + "\n")
                return 0
            source, target = words[2:4]
            (self._folder / target).write_bytes(base64.b64decode((self._folder / source).read_text("ascii")))
            process.write_line("CertUtil: -decode command completed successfully.")
            return 0

        return self._launch(main)


def usual_way(data: bytes, folder: Path, rtt_s: float) -> float:
    """Seconds that the usual way takes for these bytes; ValueError when others arrive."""
    with CmdGuest(folder) as guest, DelayedLine(guest.port, rtt_s) as line:
        certificate = folder / "guest.pem"
        certificate.write_text(guest.identity.certificate)
        client = Protocol(
            endpoint=guest.endpoint.model_copy(update={"port": line.port if rtt_s else guest.port}).url,
            transport="basic",
            username=ACCOUNT,
            password=PASSWORD,
            server_cert_validation="validate",
            ca_trust_path=str(certificate),
            proxy=None,
        )
        started, shell = time.monotonic(), ""

        def run(text: str) -> None:
            command = client.run_command(shell, text, skip_cmd_shell=True)
            client.get_command_output(shell, command)
            client.cleanup_command(shell, command)

        encoded = base64.b64encode(data).decode("ascii")
        size = ECHO_CHARACTERS - len("echo  >> upload.b64")
        for number, start in enumerate(range(0, len(encoded), size)):
            if number % COMMANDS_A_SHELL == 0:
                if shell:
                    client.close_shell(shell, close_session=False)
                shell = client.open_shell(codepage=65001)
            run(f"echo {encoded[start : start + size]} >> upload.b64")
        run("certutil -decode upload.b64 file.bin")
        client.close_shell(shell)
        client.transport.close_session()
        seconds = time.monotonic() - started
    if (folder / "file.bin").read_bytes() != data:
        raise ValueError("other bytes arrived")
    return seconds


def our_way(data: bytes, folder: Path, rtt_s: float) -> tuple[float, int]:
    """(seconds, round trips) of GuestLink.send_file for these bytes; ValueError when others arrive."""
    create_base_disk(folder / "base", BASE, 30)
    with (
        BuildGuest(folder / "base", folder / "disks") as guest,
        DelayedLine(guest.port, rtt_s) as line,
        GuestLink(guest.contact().model_copy(update={"port": line.port if rtt_s else guest.port}), limits=LIMITS) as link,
    ):
        link.upload_scripts()
        # The guest's first look at a script is not part of a transfer.
        link.send_file(FileContent(hashlib.sha256(b"x").hexdigest(), 1, lambda offset: [b"x"[offset:]]), r"C:\akse-cache\first.bin")
        content = FileContent(hashlib.sha256(data).hexdigest(), len(data), lambda offset: [data[offset:]])
        before, started = link.traffic.round_trips, time.monotonic()
        link.send_file(content, TARGET)
        seconds, trips = time.monotonic() - started, link.traffic.round_trips - before
        if guest.disk.path(TARGET).read_bytes() != data:
            raise ValueError("other bytes arrived")
    return seconds, trips


def transfer(megabytes: float, rtt_ms: float) -> dict[str, object]:
    """Both ways for incompressible bytes, the worst case, and for ones as compressible as a Windows program."""
    size = int(megabytes * 1_000_000)
    noise = random.Random(1).randbytes(size)
    # Half of it noise, half repetition: a program or a driver package shrinks to about half.
    program = b"".join(noise[start : start + 512] + bytes(512) for start in range(0, size, 1024))[:size]
    report: dict[str, object] = {"megabytes": megabytes, "rtt_ms": rtt_ms}
    for name, data in (("incompressible", noise), ("program", program)):
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            ours, trips = our_way(data, Path(first), rtt_ms / 1000)
            usual = usual_way(data, Path(second), rtt_ms / 1000)
        report[name] = {
            "usual_s": round(usual, 3),
            "ours_s": round(ours, 3),
            "ratio": round(usual / ours, 1),
            "our_round_trips": trips,
        }
    return report


def faults(schedules: int) -> dict[str, object]:
    """How many of so many random schedules of faults the link survives without losing a result or running a stage twice."""
    package = _small_package()
    failed: dict[int, str] = {}
    struck, started = 0, time.monotonic()
    for seed in range(schedules):
        with ScriptedGuest() as guest:
            try:
                struck += run_schedule(guest, package, seed)
            except (AssertionError, BuildError) as error:
                failed[seed] = f"{type(error).__name__}: {error}"
    seconds = round(time.monotonic() - started, 1)
    return {"schedules": schedules, "survived": schedules - len(failed), "faults_struck": struck, "seconds": seconds, "failed": failed}


def _small_package() -> ScriptPackage:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Receive-StagePackage.ps1").write_text("'receive'\n")
        return build_package(Path(folder))


def main() -> int:
    """0, or 1 when a schedule of faults was not survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("transfer", "faults"))
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--rtt-ms", type=float, default=0)
    parser.add_argument("--schedules", type=int, default=500)
    asked = parser.parse_args()
    report = transfer(asked.megabytes, asked.rtt_ms) if asked.what == "transfer" else faults(asked.schedules)
    print(json.dumps(report, indent=2))
    return 0 if "failed" not in report or not report["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
