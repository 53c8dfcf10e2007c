"""Private fixes of the stand-in's Internet: stable bodies behind a SAS that is checked as Azure checks it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from images.private_fix import sas_problem
from infra.checkout import ROOT
from infra.local.contracts import Outside
from infra.local.origin.private_fixes import fix_body, fix_url, refusal
from infra.local.origin.request_log import read_requests
from infra.local.origin.server import create_app
from infra.local.origin.windows_components import KNOWN_DEFECTS, defects_of, read_component, shipped_component
from tests.unit.local.origin.serving import serve

FIX = "20348.5510/fixed.msu"
NOW = datetime(2026, 8, 12, tzinfo=UTC)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with serve(create_app(tmp_path)) as gateway:
        yield Outside(gateway)


def get(outside: Outside, url: str, method: str = "GET") -> httpx.Response:
    return httpx.request(method, outside.route(url), trust_env=False)


def test_a_sas_opens_the_same_body_each_time(outside: Outside) -> None:
    first, second = get(outside, fix_url(FIX)), get(outside, fix_url(FIX, expires=datetime.now(UTC) + timedelta(hours=1)))
    assert first.status_code == second.status_code == 200
    assert hashlib.sha256(first.content).digest() == hashlib.sha256(second.content).digest()
    head = get(outside, fix_url(FIX), "HEAD")
    assert int(head.headers["content-length"]) == len(first.content)


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        (fix_url(FIX).partition("?")[0], 403, "NoAuthenticationInformation"),
        (fix_url(FIX, expires=NOW - timedelta(days=1)), 403, "AuthenticationFailed"),
        (fix_url(FIX).replace("sp=r", "sp=rw"), 403, "AuthenticationFailed"),
        (fix_url(FIX).replace("fixed", "no-effect"), 403, "AuthenticationFailed"),
        (fix_url("20348.5510/fixed.iso"), 404, "BlobNotFound"),
        ("https://privatefixes.example.com/20348.5510/fixed.iso", 403, "NoAuthenticationInformation"),
    ],
)
def test_what_the_sas_does_not_cover_is_refused(outside: Outside, url: str, status: int, code: str) -> None:
    response = get(outside, url)
    assert (response.status_code, response.headers["x-ms-error-code"]) == (status, code)


def test_a_sas_ends_at_its_end() -> None:
    query = fix_url(FIX, expires=NOW).partition("?")[2]
    assert refusal(FIX, query, NOW - timedelta(seconds=1)) == ""
    assert refusal(FIX, query, NOW) == "AuthenticationFailed"


def test_the_address_is_one_that_a_flow_accepts() -> None:
    assert sas_problem(fix_url(FIX), datetime.now(UTC)) == ""


def test_the_log_knows_that_something_private_was_fetched_and_not_what(outside: Outside, tmp_path: Path) -> None:
    get(outside, fix_url(FIX))
    assert [record.url for record in read_requests(tmp_path)] == ["https://privatefixes.example.com/"]


@pytest.mark.parametrize("effect", ["fixed", "no-effect", "regression", "contained", "rolled-back", "installer-fails"])
def test_every_effect_has_a_body_of_its_own_in_every_kind(effect: str) -> None:
    bodies = [fix_body(f"20348.5510/{effect}.{kind}") for kind in ("msu", "cab", "exe", "zip")]
    assert None not in bodies
    assert len(set(bodies)) == 4


def test_the_newest_base_of_2022_has_a_defect_and_others_have_none() -> None:
    (defect,) = KNOWN_DEFECTS
    assert defects_of(20348, 5499) == (defect.check,)
    assert defects_of(20348, 5600) == defects_of(20348, 5000) == defects_of(26100, 5499) == ()


def test_a_component_tells_its_version_and_other_files_tell_nothing() -> None:
    component = shipped_component(20348, 5499)
    assert read_component(component.content) == component
    assert read_component(b"MZ\x90\x00ntoskrnl") is None


def test_the_command_prints_address_and_hash() -> None:
    command = [sys.executable, "-m", "infra.local.origin.private_fixes"]
    printed = subprocess.run([*command, FIX], check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    body = fix_body(FIX)
    assert body is not None
    assert printed[0].startswith("https://privatefixes.example.com/")
    assert printed[1] == hashlib.sha256(body).hexdigest()
    refused = subprocess.run([*command, "x"], check=False, capture_output=True, text=True, cwd=ROOT)
    assert refused.returncode == 1
    assert "usage" in refused.stderr
