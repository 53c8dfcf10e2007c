"""Sends a file to a guest that can not reach blob storage: compressed, in the largest envelopes, verified there, resumed where it broke."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from images.errors import StageError
from images.frozen import Frozen
from images.stages.link import RECEIVE_FILE, ReceiveFileInput, ReceiveFileResult
from infra.guest.faults import GuestSilentError, LinkLostError, PasswordRefusedError
from infra.guest.json_lines import Progress
from infra.guest.runner import OnProgress, ScriptRunner

PART_BYTES = 256 * 1024
STORED, DEFLATED = 0, 6
_WORTH_IT = 0.9
"""A file whose first part shrinks less than this goes as it is: archives are compressed already."""


@dataclass(frozen=True)
class FileContent:
    """A file to send; `read` gives its bytes from an offset on, in pieces of any size, as often as it is asked."""

    sha256: str
    size_bytes: int
    read: Callable[[int], Iterable[bytes]]


class SentFile(Frozen):
    """What a transfer did: whether the file was new there, the bytes that travelled (compressed), and how often it was taken up again."""

    changed: bool
    sent_bytes: int
    resumed: int


def send_file(runner: ScriptRunner, content: FileContent, path: str, on_progress: OnProgress) -> SentFile:
    """Bring a file to a path of the guest; one that is there already does not travel.

    Raises StageError (hash-mismatch, disk-full, file-locked …), GuestSilentError when the connection breaks again and again without any
    progress in between, LinkRefusedError.
    """
    sent, resumed, vain, furthest = 0, 0, 0, 0
    while True:
        there = runner.ask(RECEIVE_FILE, _header(content, path, -1), ReceiveFileResult)
        if there.complete:
            return SentFile(changed=resumed > 0, sent_bytes=sent, resumed=resumed)
        # A part that is as long as the file and yet has no name failed its hash, or nobody looked at it: send its last byte again.
        offset = min(there.received_bytes, max(content.size_bytes - 1, 0))
        vain = 0 if offset > furthest else vain
        furthest = max(furthest, offset)
        stream = _Deflated(content, path, offset, on_progress)
        try:
            result = runner.once(RECEIVE_FILE, _header(content, path, offset), ReceiveFileResult, more=stream)
        except PasswordRefusedError:
            if not runner.renew_password():
                raise
            continue
        except LinkLostError as error:
            vain += 1
            if vain >= runner.limits.direct_attempts:
                raise GuestSilentError(
                    f"{path}: the connection was lost {vain} times at byte {furthest} of {content.size_bytes}, at last: {error.what}",
                    where=error.where,
                    hint=error.hint,
                ) from error
            resumed += 1
            continue
        finally:
            sent += stream.sent_bytes
        if not result.complete:
            raise StageError(
                f"{path}: {result.received_bytes} of {content.size_bytes} bytes came",
                stage=RECEIVE_FILE.name,
                code="incomplete",
                hint="the file became shorter while it was sent",
            )
        return SentFile(changed=True, sent_bytes=sent, resumed=resumed)


def _header(content: FileContent, path: str, offset: int) -> ReceiveFileInput:
    return ReceiveFileInput(path=path, sha256=content.sha256, size_bytes=content.size_bytes, offset=offset)


class _Deflated:
    """The rest of a file as raw deflate; counts what it gave."""

    def __init__(self, content: FileContent, path: str, offset: int, on_progress: OnProgress) -> None:
        self.sent_bytes = 0
        self._content, self._offset = content, offset
        self._message = path.rpartition("\\")[2]
        self._on_progress = on_progress

    def __iter__(self) -> Iterator[bytes]:
        done, packer = self._offset, None
        for piece in _parts(self._content.read(self._offset)):
            packer = packer or zlib.compressobj(_level(piece), wbits=-zlib.MAX_WBITS)
            yield self._counted(packer.compress(piece))
            done += len(piece)
            self._on_progress(Progress(message=self._message, done=done, total=self._content.size_bytes))
        packer = packer or zlib.compressobj(STORED, wbits=-zlib.MAX_WBITS)
        yield self._counted(packer.flush())

    def _counted(self, data: bytes) -> bytes:
        self.sent_bytes += len(data)
        return data


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in parts that fill no more than an envelope, so that what was counted is about what went out."""
    for piece in pieces:
        for start in range(0, len(piece), PART_BYTES):
            yield piece[start : start + PART_BYTES]


def _level(sample: bytes) -> int:
    return DEFLATED if len(zlib.compress(sample[: 64 * 1024], 1)) < _WORTH_IT * len(sample[: 64 * 1024]) else STORED
