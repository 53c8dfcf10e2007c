"""Reading registry hives."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from infra.local.disks.regf import make_hive
from infra.local.machine.disk import RegistryKey
from infra.vhd.errors import VhdError, VhdNotFoundError
from infra.vhd.hives import Hive, decode_value

NOW = datetime(2026, 8, 12, tzinfo=UTC)


def _hive(root: RegistryKey) -> Hive:
    return Hive(io.BytesIO(make_hive(root, "SYSTEM", NOW)), "SYSTEM")


def test_current_control_set_is_the_one_that_select_names() -> None:
    root = RegistryKey("ROOT")
    root.make("Select").set("Current", 2)
    for number in (1, 2):
        root.make(f"ControlSet{number:03d}").set("number", number)
    with _hive(root) as hive:
        assert hive.control_set().number("number") == 2


def test_keys_and_values_are_found_in_any_case_and_keep_their_spelling() -> None:
    root = RegistryKey("ROOT")
    root.make(r"Software\Größe").set("ProductName", "Windows")
    with _hive(root) as hive:
        key = hive.root.require(r"SOFTWARE\größe")
        assert key.path == r"Software\Größe"
        assert key.text("productname") == "Windows"


def test_missing_key_is_a_typed_error() -> None:
    with _hive(RegistryKey("ROOT")) as hive, pytest.raises(VhdNotFoundError):
        hive.control_set()


def test_hive_that_windows_was_still_writing_is_known_as_dirty() -> None:
    content = bytearray(make_hive(RegistryKey("ROOT"), "SYSTEM", NOW))
    with Hive(io.BytesIO(bytes(content)), "SYSTEM") as clean:
        assert not clean.is_dirty
    # The first sequence number goes from 1 to 2, and with it the checksum, an exclusive or of all words.
    content[4] ^= 3
    content[508] ^= 3
    with Hive(io.BytesIO(bytes(content)), "SYSTEM") as dirty:
        assert dirty.is_dirty


@pytest.mark.parametrize("length", [0, 100, 4096, 5000])
def test_truncated_hive_is_refused_when_it_is_read(length: int) -> None:
    root = RegistryKey("ROOT")
    for number in range(200):
        root.make(f"Key{number}").set("v", "x" * 50)
    content = make_hive(root, "SYSTEM", NOW)[:length]
    with pytest.raises(VhdError), Hive(io.BytesIO(content), "SYSTEM") as hive:
        for key in hive.root.walk():
            list(key.values())


@pytest.mark.parametrize(
    ("kind", "raw", "data"),
    [
        (4, b"\x01\0\0\0", 1),
        (4, b"\x01", b"\x01"),
        (5, b"\0\0\0\x01", 1),
        (1, "a\0".encode("utf-16-le"), "a"),
        (1, "a".encode("utf-16-le"), "a"),
        (1, b"abc", b"abc"),
        (7, "a\0b\0\0".encode("utf-16-le"), ["a", "b"]),
        (7, "a\0b\0".encode("utf-16-le"), ["a", "b"]),
        (7, b"\0\0", []),
        (7, b"", []),
        (3, b"", b""),
    ],
)
def test_data_that_does_not_fit_its_type_stays_bytes(kind: int, raw: bytes, data: object) -> None:
    assert decode_value(kind, raw) == data
