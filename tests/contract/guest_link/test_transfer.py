"""Files over the link: whole, verified, resumed where they broke, and never as a half file under the right name."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable

import pytest

from images.errors import StageError
from infra.guest.faults import GuestSilentError
from infra.guest.json_lines import Progress
from infra.guest.limits import LinkLimits
from infra.guest.link import GuestLink
from infra.guest.transfer import FileContent
from tests.contract.guest_link.build_guest import LIMITS, BuildGuest, wait_for

TARGET = r"C:\akse-cache\big\file.bin"
SIZE = 2_000_000


def content_of(data: bytes, read: Callable[[int], Iterable[bytes]] | None = None) -> FileContent:
    return FileContent(hashlib.sha256(data).hexdigest(), len(data), read or (lambda offset: [data[offset:]]))


@pytest.fixture(scope="module")
def noise() -> bytes:
    return random.Random(1).randbytes(SIZE)


def test_file_arrives_compressed_and_a_second_time_nothing_travels(build: BuildGuest, build_link: GuestLink) -> None:
    text = b"one line of many\n" * 200_000
    seen: list[Progress] = []
    sent = build_link.send_file(content_of(text), TARGET, on_progress=seen.append)
    assert sent.changed
    assert sent.sent_bytes < len(text) / 50
    assert build.disk.path(TARGET).read_bytes() == text
    assert (seen[-1].done, seen[-1].total, seen[-1].message) == (len(text), len(text), "file.bin")
    again = build_link.send_file(content_of(text), TARGET)
    assert (again.changed, again.sent_bytes) == (False, 0)


def test_envelopes_are_as_large_as_the_guest_takes(build_link: GuestLink, noise: bytes) -> None:
    build_link.upload_scripts()
    before = build_link.traffic
    build_link.send_file(content_of(noise), TARGET)
    used = build_link.traffic
    # 2 MB in envelopes of 500 kB, of which base64 takes a quarter: 6. The rest asks, starts, reads and ends two commands.
    assert used.round_trips - before.round_trips <= 6 + 10
    assert used.sent_bytes - before.sent_bytes < 1.37 * SIZE


@pytest.mark.parametrize("size", [0, 1, 377_856, 377_857])
def test_sizes_around_the_edges_arrive(build: BuildGuest, build_link: GuestLink, noise: bytes, size: int) -> None:
    assert build_link.send_file(content_of(noise[:size]), TARGET).changed
    assert build.disk.path(TARGET).read_bytes() == noise[:size]


@pytest.mark.parametrize("skip", [0, 2, 5, 8])
def test_broken_line_is_taken_up_where_it_broke(build: BuildGuest, build_link: GuestLink, noise: bytes, skip: int) -> None:
    build_link.upload_scripts()
    build.fail("guest.winrm", "dropped", skip=skip, times=2)
    sent = build_link.send_file(content_of(noise), TARGET)
    assert build.disk.path(TARGET).read_bytes() == noise
    assert sent.resumed <= 2
    assert not list(build.disk.path(r"C:\akse-cache\big").glob("*.part"))


def test_another_worker_takes_the_transfer_up(build: BuildGuest, build_link: GuestLink, noise: bytes) -> None:
    def dies(offset: int) -> Iterable[bytes]:
        yield noise[offset : offset + 1_200_000]
        wait_for(lambda: any(part.stat().st_size > 1_000_000 for part in build.disk.path(r"C:\akse-cache\big").glob("*.part")))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_link.send_file(content_of(noise, dies), TARGET)
    assert not build.disk.path(TARGET).exists()
    with GuestLink(build.contact(), limits=LIMITS) as second:
        sent = second.send_file(content_of(noise), TARGET)
    assert build.disk.path(TARGET).read_bytes() == noise
    assert sent.sent_bytes < SIZE - 700_000


def test_line_that_breaks_again_and_again_is_given_up_with_how_far_it_came(build: BuildGuest, noise: bytes) -> None:
    limits: LinkLimits = LIMITS.model_copy(update={"reconnect_s": 2.0})
    with GuestLink(build.contact(), limits=limits) as link:
        link.upload_scripts()
        build.fail("guest.winrm-drop", "dropped", skip=1, times=10_000)
        with pytest.raises(GuestSilentError):
            link.send_file(content_of(noise), TARGET)


def test_wrong_bytes_never_get_the_files_name(build: BuildGuest, build_link: GuestLink, noise: bytes) -> None:
    other = bytes(reversed(noise))
    with pytest.raises(StageError) as caught:
        build_link.send_file(content_of(noise, lambda offset: [other[offset:]]), TARGET)
    assert caught.value.code == "hash-mismatch"
    assert list(build.disk.path(r"C:\akse-cache\big").iterdir()) == []
    assert build_link.send_file(content_of(noise), TARGET).changed


def test_source_that_ends_early_is_named(build: BuildGuest, build_link: GuestLink, noise: bytes) -> None:
    with pytest.raises(StageError, match="1000000 of 2000000 bytes came") as caught:
        build_link.send_file(content_of(noise, lambda offset: [noise[offset : 1_000_000 + offset]]), TARGET)
    assert caught.value.code == "incomplete"
    assert build_link.send_file(content_of(noise), TARGET).sent_bytes < 1.1 * (SIZE - 1_000_000)


def test_full_disk_says_so(build: BuildGuest, build_link: GuestLink) -> None:
    # Files below the cache stand for ones that are larger by a factor: a few megabytes fill C:.
    from infra.local.origin.bodies import SCALE

    size = 40 * 1024**3 // SCALE
    zeros = bytes(min(size, 64 * 1024**2))
    with pytest.raises(StageError) as caught:
        build_link.send_file(FileContent("0" * 64, size, lambda _offset: [zeros] * (size // len(zeros) + 1)), TARGET)
    assert caught.value.code == "disk-full"
    assert "os_disk_gib" in caught.value.hint
