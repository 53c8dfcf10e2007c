"""Logs from a disk that is off."""

from __future__ import annotations

from pathlib import Path

from infra.local.contracts import BaseImageReference
from infra.local.disks.store import FolderDiskStore
from infra.local.machine.disk import MachineDisk
from infra.vhd.inspect import open_file
from infra.vhd.offline_logs import read_log_tails

BASE = BaseImageReference("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-core-smalldisk", "20348.4529.251112", "V1")
PANTHER = r"C:\Windows\System32\Sysprep\Panther"


def test_ends_of_the_logs_that_are_there_are_read_in_their_encoding(tmp_path: Path) -> None:
    store = FolderDiskStore(tmp_path / "disks")
    store.create_from_base("os", BASE, 30)
    disk = MachineDisk.open(tmp_path / "disks" / "os")
    disk.write(rf"{PANTHER}\setuperr.log", "Error SYSPRP Größe\r\n".encode("utf-16"))
    disk.write(rf"{PANTHER}\setupact.log", b"old\n" * 50_000 + b"the last words\n")
    disk.write(r"C:\winvhd\runs\abc.err", b"wusa hangs\n")
    disk.save()
    store.export_vhd("os", tmp_path / "os.vhd")
    with open_file(tmp_path / "os.vhd") as reader:
        tails = read_log_tails(reader, tail_bytes=1000)
    assert tails[rf"{PANTHER}\setuperr.log"] == "Error SYSPRP Größe"
    assert tails[rf"{PANTHER}\setupact.log"].endswith("old\nthe last words")
    assert len(tails[rf"{PANTHER}\setupact.log"]) < 1010
    assert tails[r"C:\winvhd\runs\abc.err"] == "wusa hangs"
