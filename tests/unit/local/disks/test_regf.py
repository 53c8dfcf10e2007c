"""Writing registry hives, read back by libregf and by hivex."""

from __future__ import annotations

import io
import shutil
import subprocess
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.disks.regf import make_hive
from infra.local.machine.disk import RegistryData, RegistryKey
from infra.vhd.hives import Hive, HiveKey

NOW = datetime(2026, 8, 12, tzinfo=UTC)


def read_back(key: HiveKey, name: str) -> RegistryKey:
    """The keys and values below a key of a hive, as the machine model holds them."""
    made = RegistryKey(name)
    for value in key.values():
        made.set(value.name, value.data, value.type)
    for child in key.subkeys():
        made.keys[child.name.lower()] = read_back(child, child.name)
    return made


def round_trip(root: RegistryKey) -> RegistryKey:
    """The root after it was written as a hive and read."""
    with Hive(io.BytesIO(make_hive(root, "SOFTWARE", NOW)), "SOFTWARE") as hive:
        return read_back(hive.root, root.name)


def every_type() -> RegistryKey:
    """A key with values of every type and size that the file format treats in its own way."""
    root = RegistryKey("SOFTWARE")
    key = root.make(r"Microsoft\Größe – размер")
    values: list[tuple[str, str, RegistryData]] = [
        ("", "REG_SZ", "default value"),
        ("text", "REG_SZ", "Windows Server – Größe"),
        ("empty text", "REG_SZ", ""),
        ("expand", "REG_EXPAND_SZ", r"%SystemRoot%\System32"),
        ("list", "REG_MULTI_SZ", ["one", "zwei", "три"]),
        ("empty list", "REG_MULTI_SZ", []),
        ("number", "REG_DWORD", 0xFFFF_FFFF),
        ("zero", "REG_DWORD", 0),
        ("big-endian number", "REG_DWORD_BIG_ENDIAN", 0x01020304),
        ("large number", "REG_QWORD", 2**64 - 1),
        ("no bytes", "REG_BINARY", b""),
        *((f"{size} bytes", "REG_BINARY", bytes(range(1, size + 1))) for size in (1, 2, 3, 4, 5)),
        *((f"{size} bytes", "REG_BINARY", b"x" * size) for size in (16343, 16344, 16345, 16348, 100_000)),
        ("none", "REG_NONE", b"\x01"),
        ("broken text", "REG_SZ", b"abc"),
        ("broken number", "REG_DWORD", b"\x01\x02"),
        ("own type", "REG_0x1234", b"data"),
        ("имя", "REG_SZ", "name that is not ASCII"),
    ]
    for name, kind, data in values:
        key.set(name, data, kind)
    return root


def test_values_of_every_type_and_size_come_back_as_they_were() -> None:
    assert round_trip(every_type()) == every_type()


def test_thousands_of_keys_and_long_lists_come_back() -> None:
    root = RegistryKey("SOFTWARE")
    for number in range(3000):
        root.make(rf"Packages\Package_{number}").set("CurrentState", 112)
    for number in range(1500):
        root.make("Values").set(f"value {number}", number)
    assert round_trip(root) == root


def test_names_keep_their_case_and_are_found_in_any() -> None:
    root = RegistryKey("SOFTWARE")
    root.make("MixedCase").set("VaLuE", 1)
    assert [key.name for key in round_trip(root).keys.values()] == ["MixedCase"]
    with Hive(io.BytesIO(make_hive(root, "SOFTWARE", NOW)), "SOFTWARE") as hive:
        assert hive.root.require("mixedcase").get("value") == 1


def test_same_keys_make_the_same_bytes() -> None:
    assert make_hive(every_type(), "SOFTWARE", NOW) == make_hive(every_type(), "SOFTWARE", NOW)


@pytest.mark.parametrize(("kind", "number"), [("REG_DWORD", 2**32), ("REG_DWORD", -1), ("REG_QWORD", 2**64)])
def test_number_that_does_not_fit_its_type_is_refused(kind: str, number: int) -> None:
    root = RegistryKey("SOFTWARE")
    root.set("v", number, kind)
    with pytest.raises(ValueError, match="does not fit"):
        make_hive(root, "SOFTWARE", NOW)


_NAMES = st.text(st.characters(exclude_characters="\\\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)
_VALUES = st.one_of(
    st.tuples(st.sampled_from(["REG_SZ", "REG_EXPAND_SZ"]), _TEXTS),
    st.tuples(st.just("REG_MULTI_SZ"), st.lists(_TEXTS.filter(bool), max_size=4)),
    st.tuples(st.just("REG_DWORD"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("REG_QWORD"), st.integers(0, 2**64 - 1)),
    st.tuples(st.just("REG_BINARY"), st.binary(max_size=80)),
)


@given(st.dictionaries(_NAMES, st.dictionaries(_NAMES, _VALUES, max_size=4), max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_keys_and_values_come_back(content: dict[str, dict[str, tuple[str, RegistryData]]]) -> None:
    root = RegistryKey("SOFTWARE")
    for name, values in content.items():
        key = root.keys.setdefault(name.lower(), RegistryKey(name))
        for value, (kind, data) in values.items():
            key.set(value, data, kind)
    assert round_trip(root) == root


def test_hivex_reads_the_same_keys_and_values(tmp_path: Path) -> None:
    if shutil.which("hivexml") is None:
        pytest.skip("hivexml (Debian: libhivex-bin) is not installed")
    hive = tmp_path / "SOFTWARE"
    root = every_type()
    for number in range(1200):
        root.make(f"Many\\Key{number}").set("n", number)
    hive.write_bytes(make_hive(root, "SOFTWARE", NOW))
    document = ET.fromstring(subprocess.run(["hivexml", str(hive)], check=True, capture_output=True).stdout)
    top = document.find("node")
    assert top is not None
    many = top.find("node[@name='Many']")
    assert many is not None
    found = {node.get("name"): [value.get("value") for value in node.iter("value")] for node in many.findall("node")}
    assert found == {f"Key{number}": [str(number)] for number in range(1200)}
    microsoft = top.find("node[@name='Microsoft']/node")
    assert microsoft is not None
    assert microsoft.get("name") == "Größe – размер"
    values = {value.get("key", ""): value for value in microsoft.findall("value")}
    assert values["text"].get("value") == "Windows Server – Größe"
    assert [text.text for text in values["list"].findall("string")][:3] == ["one", "zwei", "три"]


def test_hivexsh_can_change_the_hive(tmp_path: Path) -> None:
    if shutil.which("hivexsh") is None:
        pytest.skip("hivexsh (Debian: libhivex-bin) is not installed")
    hive = tmp_path / "SOFTWARE"
    hive.write_bytes(make_hive(every_type(), "SOFTWARE", NOW))
    script = "add Added\ncd Added\nsetval 1\nn\ndword:42\ncommit\n"
    subprocess.run(["hivexsh", "-w", str(hive)], input=script.encode(), check=True, capture_output=True)
    with Hive(io.BytesIO(hive.read_bytes()), "SOFTWARE") as opened:
        assert opened.root.require("Added").get("n") == 42
        assert read_back(opened.root.require("Microsoft"), "Microsoft") == every_type().keys["microsoft"]
