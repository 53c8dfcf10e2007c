"""What it costs to inspect a disk: seconds, bytes read against its size, requests; from a file, and from a blob in Azurite.

    .venv/bin/python -m tests.bench.bench_inspect [VHD…] [--files 10 100 1000 10000] [--json FILE]

Given VHDs (by default the newest of out/) are measured as they are; besides, disks are made with so many cached files, to show growth.
The blob's numbers come from reading Azurite on this machine through HTTP, as Azure would be read.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from infra.checkout import ROOT
from infra.local.azurite import Azurite
from infra.local.disks.vhd_writer import data_ranges, write_vhd
from infra.vhd.blob_range_reader import open_blob
from infra.vhd.inspect import Inspection, inspect_path, inspect_reader
from tests.unit.vhd.sample_disk import make_sample_disk

ROUNDS = 3
PIECE = 4 * 2**20
ACCOUNT = "winvhd"


@dataclass(frozen=True)
class Measurement:
    """The median of ROUNDS inspections of one disk."""

    disk: str
    source: str
    hashed: bool
    files: int
    images: int
    disk_bytes: int
    data_bytes: int
    bytes_read: int
    share_of_disk: float
    requests: int
    seconds: float


def measure(name: str, source: str, vhd: Path, inspect: Callable[[], Inspection], *, hashed: bool) -> Measurement:
    """Inspect several times and keep the median."""
    found = [inspect() for _ in range(ROUNDS)]
    last = found[-1]
    with vhd.open("rb") as file:
        data_bytes = sum(end - start for start, end in data_ranges(file.fileno()))
    return Measurement(
        disk=name,
        source=source,
        hashed=hashed,
        files=len(last.inventory.cached_files),
        images=sum("@" not in image.name and not image.name.startswith("sha256:") for image in last.inventory.container_images),
        disk_bytes=last.disk_bytes,
        data_bytes=data_bytes,
        bytes_read=last.bytes_read,
        share_of_disk=last.bytes_read / last.disk_bytes,
        requests=last.requests,
        seconds=statistics.median(each.seconds for each in found),
    )


@contextmanager
def blob_of(azurite: Azurite, vhd: Path) -> Iterator[str]:
    """The VHD as a page blob, by a URL with SAS."""
    from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas

    key = azurite.keys[ACCOUNT]
    with BlobServiceClient(f"{azurite.endpoint}/{ACCOUNT}", credential={"account_name": ACCOUNT, "account_key": key}) as service:
        container = service.get_container_client("bench")
        if not container.exists():
            container.create_container()
        with container.get_blob_client("disk.vhd") as blob, vhd.open("rb") as file:
            blob.create_page_blob(vhd.stat().st_size)
            for start, end in data_ranges(file.fileno()):
                for offset in range(start, end, PIECE):
                    file.seek(offset)
                    data = file.read(min(PIECE, end - offset))
                    blob.upload_page(data, offset=offset, length=len(data))
            expiry = datetime.now(UTC) + timedelta(hours=1)
            sas = generate_blob_sas(ACCOUNT, "bench", "disk.vhd", account_key=key, permission=BlobSasPermissions(read=True), expiry=expiry)
            yield f"{blob.url}?{sas}"


def measure_disk(azurite: Azurite, name: str, vhd: Path) -> list[Measurement]:
    """One disk from its file and from a blob, with and without hashing."""
    rows = []
    with blob_of(azurite, vhd) as url:

        def from_blob(*, hash_files: bool) -> Inspection:
            with open_blob(url) as reader:
                return inspect_reader(reader, hash_files=hash_files)

        for source, inspect in (("file", partial(inspect_path, vhd)), ("blob", from_blob)):
            for hashed in (False, True):
                rows.append(measure(name, source, vhd, partial(inspect, hash_files=hashed), hashed=hashed))
    return rows


def disk_with_files(folder: Path, count: int, disk_mib: int | None = None) -> Path:
    """A VHD of the sample machine with so many cached files of some kilobytes; larger than need be when disk_mib says so."""
    disk = make_sample_disk(folder / "disk", "V2")
    for number in range(count):
        disk.write(rf"C:\akse-cache\package-{number % 20}\file-{number:05d}.zip", f"{number}".encode() * 800)
    if disk_mib is not None:
        # Content that an inspection does not read, as most of a Windows disk is.
        disk.write(r"C:\Windows\WinSxS\filler.bin", bytes((disk_mib - 150) * 2**20))
    disk.save()
    vhd = folder / "disk.vhd"
    write_vhd(disk, vhd)
    shutil.rmtree(folder / "disk")
    return vhd


def table(rows: list[Measurement]) -> str:
    """The measurements as a table."""
    head = (
        f"{'disk':<40} {'from':<5} {'hash':<4} {'files':>6} {'images':>6} {'disk MiB':>8}"
        f" {'read KiB':>9} {'share':>8} {'requests':>8} {'s':>6}"
    )
    lines = [head, "-" * len(head)]
    lines += [
        f"{row.disk:<40} {row.source:<5} {'yes' if row.hashed else 'no':<4} {row.files:>6} {row.images:>6} {row.disk_bytes / 2**20:>8.0f}"
        f" {row.bytes_read / 1024:>9.0f} {row.share_of_disk:>8.3%} {row.requests:>8} {row.seconds:>6.2f}"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    newest = sorted((ROOT / "out").glob("windows-2022-containerd-*/image.vhd"), key=lambda path: path.stat().st_mtime)[-1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vhds", nargs="*", type=Path, default=newest)
    parser.add_argument("--files", nargs="*", type=int, default=[10, 100, 1000, 10_000])
    parser.add_argument("--large-mib", type=int, default=500, help="size of one more disk, mostly filled with what nobody reads; 0: none")
    parser.add_argument("--json", type=Path, help="also write the measurements there")
    options = parser.parse_args()
    rows: list[Measurement] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        azurite = stack.enter_context(Azurite(folder / "azurite"))
        for vhd in options.vhds:
            rows += measure_disk(azurite, vhd.parent.name, vhd)
        made = [(f"sample, {count} files", count, None) for count in options.files]
        if options.large_mib:
            made.append((f"sample, 10 files, {options.large_mib} MiB", 10, options.large_mib))
        for name, count, size in made:
            work = folder / name.replace(" ", "-").replace(",", "")
            work.mkdir()
            rows += measure_disk(azurite, name, disk_with_files(work, count, size))
            shutil.rmtree(work)
    sys.stdout.write(table(rows) + "\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
