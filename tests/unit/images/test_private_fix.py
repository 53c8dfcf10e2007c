"""What a private fix may be, what it is called, and which addresses it may be read from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from images.definition import RegistrySetting
from images.private_fix import FixKind, PrivateFix, sas_problem, settings_with_fix

SHA256 = "3f0c9a1b22d4" + "0" * 52
NOW = datetime(2026, 8, 12, 12, 0, tzinfo=UTC)
GOOD = "https://account.blob.core.windows.net/fixes/secret-name.msu?sp=r&sr=b&se=2026-08-13T00:00:00Z&sig=abc%3D"


def fix(**changes: Any) -> PrivateFix:
    return PrivateFix.model_validate({"sha256": SHA256, "kind": "msu", "block": "the-block", **changes})


def setting(name: str, value: int, path: str = r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State") -> RegistrySetting:
    return RegistrySetting(path=path, name=name, value=value)


def test_a_fix_is_called_by_the_first_twelve_digits_of_its_hash() -> None:
    assert str(fix()) == "private fix 3f0c9a1b22d4"
    assert f"{fix()}" == "private fix 3f0c9a1b22d4"


@pytest.mark.parametrize(("kind", "needed"), [("msu", False), ("cab", False), ("exe", False), ("zip", True)])
def test_only_replaced_files_need_test_signing(kind: str, needed: bool) -> None:
    assert fix(kind=kind).test_signing is needed


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": ["/quiet"]},
        {"kind": "zip", "arguments": ["x"]},
        {"kind": "exe", "arguments": ["a\0b"]},
        {"block": "Not-A-Block"},
        {"block": "../secret"},
        {"sha256": SHA256.upper()},
        {"kind": "ps1"},
        {"url": GOOD},
    ],
)
def test_what_no_fix_can_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        fix(**changes)


def test_a_program_keeps_its_arguments_apart() -> None:
    assert fix(kind=FixKind.EXE, arguments=["/quiet", "a b"]).arguments == ("/quiet", "a b")


def test_the_values_of_a_fix_replace_those_of_the_definition() -> None:
    own = setting("A", 0, path="HKLM:\\system\\CurrentControlSet\\Services\\HNS\\State\\")
    settings = settings_with_fix([setting("a", 1), setting("B", 2)], fix(registry=[own.model_dump()]))
    assert [(each.name, each.value) for each in settings] == [("B", 2), ("A", 0)]
    assert settings_with_fix([setting("A", 1)], None) == (setting("A", 1),)


def test_a_read_only_sas_of_one_blob_is_good() -> None:
    assert sas_problem(GOOD, NOW) == ""


@pytest.mark.parametrize(
    ("url", "word"),
    [
        (GOOD.partition("?")[0], "not a URL with a SAS"),
        ("not a url", "not a URL with a SAS"),
        (GOOD.replace("sig=", "signature="), "not a URL with a SAS"),
        (GOOD.replace("https://", "file://"), "not a URL with a SAS"),
        (GOOD.replace("https://", "http://"), "its token would travel unencrypted"),
        (GOOD.replace("https://account", "http://localhost.account"), "its token would travel unencrypted"),
        (GOOD.replace("sr=b", "sr=c"), "sr must be b"),
        (GOOD.replace("sp=r", "sp=rw"), "sp must be r"),
        (GOOD.replace("2026-08-13", "2026-08-12"), "expired at 2026-08-12 00:00"),
        (GOOD.replace("2026-08-13", "2026-12-24"), "more than 7 days"),
        (GOOD.replace("2026-08-13", "soon"), "not a URL with a SAS"),
        ("https://[account/x?sig=1&se=2026-08-13", "not a URL with a SAS"),
    ],
)
def test_any_other_address_is_refused_without_being_shown(url: str, word: str) -> None:
    problem = sas_problem(url, NOW)
    assert word in problem
    for secret in ("secret-name", "account", "abc"):
        assert secret not in problem


@pytest.mark.parametrize("host", ["127.0.0.1:10000", "localhost:10000", "[::1]:10000"])
def test_on_this_machine_a_token_may_travel_unencrypted(host: str) -> None:
    assert sas_problem(GOOD.replace("https://account.blob.core.windows.net", f"http://{host}/winvhd"), NOW) == ""


def test_a_sas_without_a_zone_ends_in_utc() -> None:
    assert sas_problem(GOOD.replace("T00:00:00Z", "T00:00:00"), NOW) == ""
    assert "expired" in sas_problem(GOOD.replace("13T00:00:00Z", "12T11:59:59"), NOW)


@given(st.timedeltas(min_value=timedelta(days=-30), max_value=timedelta(days=30)))
def test_a_sas_is_good_from_now_to_seven_days(life: timedelta) -> None:
    end = (NOW + life).strftime("%Y-%m-%dT%H:%M:%SZ")
    whole = timedelta(seconds=life // timedelta(seconds=1))
    assert (sas_problem(GOOD.replace("2026-08-13T00:00:00Z", end), NOW) == "") == (timedelta(0) < whole <= timedelta(days=7))


@given(st.text())
def test_no_text_is_too_strange_for_the_check(text: str) -> None:
    assert isinstance(sas_problem(text, NOW), str)
