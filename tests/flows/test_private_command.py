"""`winvhd private source` and `validate` as a user meets them: an address goes in once, a verdict comes out."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable

import pytest
from prefect.settings import PREFECT_API_URL

from infra.checkout import ROOT
from infra.local.origin.private_fixes import fix_body, fix_url
from infra.prefect.private_fix_source import private_fix_url
from tests.private_fixes import FIRST_BOOT, NETWORKING, ensure_layers
from tests.standin_fixtures import command

FIX = "20348.5540/fixed.exe"
Winvhd = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def winvhd(fixable: str) -> Winvhd:
    """Runs `winvhd private`, with the session's stand-in and Prefect server, and with a text on standard input."""

    def called(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "COLUMNS": "160"}
        return subprocess.run(
            command("private", *arguments), cwd=ROOT, env=environment, input=said, capture_output=True, text=True, timeout=120, check=False
        )

    return called


def test_an_address_is_kept_and_the_verdict_is_printed_with_a_table(winvhd: Winvhd, fixable: str) -> None:
    ensure_layers(fixable)
    body, url = fix_body(FIX), fix_url(FIX)
    assert body is not None
    kept = winvhd("source", "typed-fix", said=f"{url}\n")
    assert (kept.returncode, kept.stdout) == (0, "kept as typed-fix\n"), kept.stderr
    assert private_fix_url("typed-fix").get_secret_value() == url
    # As PowerShell's Get-FileHash writes it.
    digest = hashlib.sha256(body).hexdigest().upper()
    options = ("--source", "typed-fix", "--sha256", digest, "--kind", "exe", "--argument", "/quiet")
    done = winvhd("validate", fixable, *options, "--suite", FIRST_BOOT, "--suite", NETWORKING)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert f"Private fix {digest[:12].lower()}: fixed" in done.stdout
    assert "networking the endpoint has an address fails (2 of 2 failed) passes fixed" in lines
    assert "patched:" in done.stdout
    assert "layers built: fix, finish" in done.stdout
    said = kept.stdout + kept.stderr + done.stdout + done.stderr
    for word in ("privatefixes", "fixed.exe", "sig="):
        assert word not in said


@pytest.mark.parametrize(
    ("name", "url", "words"),
    [
        ("typed-fix", "https://x.example.com/canary.msu", "not a URL with a SAS"),
        ("Typed Fix", "https://x.example.com/canary.msu", "not a name for a block"),
        ("typed-fix", "", "not a URL with a SAS"),
    ],
)
def test_an_address_that_can_not_be_used_is_refused_and_not_repeated(name: str, url: str, words: str, winvhd: Winvhd) -> None:
    done = winvhd("source", name, said=url)
    assert done.returncode == 6
    assert words in done.stderr
    assert "hint: " in done.stderr
    assert "canary" not in done.stdout + done.stderr


def test_registry_values_come_from_a_file_and_faults_in_it_are_told(
    winvhd: Winvhd, fixable: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("values") / "values.yaml"
    given = ("validate", fixable, "--source", "typed-fix", "--sha256", "0" * 64, "--kind", "msu", "--registry", str(file))
    for content, code, words in (
        (None, 6, "can not be read"),
        ("path: x", 6, "no list of registry values"),
        ("- {path: nowhere, name: x, value: 1}", 25, "registry.0.path"),
    ):
        if content is not None:
            file.write_text(content, encoding="utf-8")
        done = winvhd(*given)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr
