"""What Receive-File.ps1 does in this guest: takes a file from standard input while it comes; what came stays when the line breaks."""

from __future__ import annotations

import fcntl
import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from images.stages.link import ReceiveFileInput, ReceiveFileResult
from infra.local.guest.engine import GuestMachine
from infra.local.guest.process import KILLED, GuestProcess
from infra.local.machine.free_space import is_scaled
from infra.local.origin.bodies import SCALE


class _TransferError(Exception):
    """Ends the script with an error line."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def receive_file(machine: GuestMachine, process: GuestProcess) -> int:
    """The script's exit code."""
    head = bytearray()
    while b"\n" not in head:
        piece = process.read_some()
        if piece is None:
            return KILLED
        if not piece:
            break
        head += piece
    line, _, rest = bytes(head).partition(b"\n")
    try:
        wanted = ReceiveFileInput.model_validate_json(line)
        result = _receive(machine, process, wanted, rest)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_input=False))
        return _fail(process, "bad-input", problems)
    except zlib.error as error:
        return _fail(process, "script-failed", f"The archive entry was compressed using an unsupported compression method. ({error})")
    except _TransferError as error:
        return _fail(process, error.code, str(error))
    if result is None:
        return KILLED
    process.write_line(json.dumps({"event": "result", **result.model_dump(mode="json")}))
    return 0


def _receive(machine: GuestMachine, process: GuestProcess, wanted: ReceiveFileInput, rest: bytes) -> ReceiveFileResult | None:
    target = machine.disk.path(wanted.path)
    part = machine.disk.path(f"{wanted.path}.{wanted.sha256[:16]}.part")
    if _is_verified(target, wanted):
        return ReceiveFileResult(changed=False, complete=True, received_bytes=wanted.size_bytes)
    if wanted.offset < 0:
        with _alone(part):
            return ReceiveFileResult(changed=False, complete=False, received_bytes=_length(part))
    if not _write(machine, process, part, wanted, rest):
        return None
    received = _length(part)
    if received < wanted.size_bytes:
        return ReceiveFileResult(changed=False, complete=False, received_bytes=received)
    if not _is_verified(part, wanted):
        part.unlink()
        raise _TransferError("hash-mismatch", f"{wanted.path}: what came is not the file with sha256 {wanted.sha256}")
    part.replace(target)
    return ReceiveFileResult(changed=True, complete=True, received_bytes=received)


def _write(machine: GuestMachine, process: GuestProcess, part: Path, wanted: ReceiveFileInput, data: bytes) -> bool:
    """Inflate the rest of standard input into the part; False when the process was killed, and then what came is kept."""
    if _length(part) < wanted.offset:
        raise _TransferError("bad-offset", f"{part.name} has {_length(part)} bytes, the transfer goes on at {wanted.offset}")
    part.parent.mkdir(parents=True, exist_ok=True)
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    left = machine.free_bytes // (SCALE if is_scaled(machine.disk, part) else 1)
    part.touch()
    with _alone(part), part.open("r+b") as file:
        file.truncate(wanted.offset)
        file.seek(wanted.offset)
        piece: bytes | None = data
        while piece is not None:
            plain = inflater.decompress(piece)
            left -= len(plain)
            if left < 0:
                raise _TransferError("disk-full", "There is not enough space on the disk.")
            file.write(plain)
            file.flush()
            piece = process.read_some()
            if piece == b"":
                file.write(inflater.flush())
                return True
    return False


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Nobody else has the file open: a process that was just killed may need a moment to let go of it."""
    if not part.is_file():
        yield
        return
    with part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_verified(path: Path, wanted: ReceiveFileInput) -> bool:
    if _length(path) != wanted.size_bytes or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256


def _fail(process: GuestProcess, code: str, message: str) -> int:
    process.write_line(json.dumps({"event": "error", "code": code, "message": message}))
    process.write_error(f"{message}\r\n")
    return 1
