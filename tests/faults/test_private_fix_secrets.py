"""Canaries: where a private fix came from is found nowhere after its validation, not even where only those may look who know of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

from infra.azure.page_blob import download_vhd
from infra.azure.session import open_cloud
from infra.checkout import output_folder
from infra.local.origin.private_fixes import fix_body
from infra.prefect.private_fix_source import private_fix_url
from infra.profiles import load_profile
from infra.vhd.inspect import inspect_reader, open_file
from tests.faults.stormy import watching
from tests.flow_attempt import Attempt
from tests.flows.test_no_traces import found_on
from tests.private_fixes import keep_fix, scope_of_run, validate
from tests.unit.fetch.serving import Answer, serving

FIX = "20348.5531/fixed.zip"
FOLDER, FILE, QUERY = "canaryfolder9f2c", "canaryfile7b1d.zip", "canaryquery55aa"
SIGNATURE = "canarySignature+4e/Q8c="
WORDS = {FOLDER, FILE, FILE.partition(".")[0], QUERY, SIGNATURE, quote(SIGNATURE, safe=""), "canarysignature"}


@dataclass(frozen=True)
class Sung:
    """A validation whose fix came from a place that would be known again."""

    attempt: Attempt
    log: str
    asked: list[str]
    """What the guest asked the place for."""
    vhds: dict[str, Path]
    """The VHDs of both sides, read from blob storage."""


@pytest.fixture(scope="module")
def sung(fixable: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sung]:
    body = fix_body(FIX)
    assert body is not None
    ends = datetime.now(UTC) + timedelta(hours=6)
    with pytest.MonkeyPatch.context() as patch, serving() as storage, watching(patch) as (lines, _):
        url = storage.on(f"/{FOLDER}/{FILE}", Answer(body))
        query = f"sp=r&sr=b&se={ends:%Y-%m-%dT%H:%M:%SZ}&skoid={QUERY}&sig={quote(SIGNATURE, safe='')}"
        fix = {**keep_fix("sung/fix.zip", f"{url}?{query}", body), "kind": "zip"}
        attempt = validate(fixable, fix, note="a note")
        asked = [request.target for request in storage.asked]
    folder, vhds = tmp_path_factory.mktemp("vhds"), {}
    with open_cloud(load_profile("local")) as cloud:
        scope = scope_of_run(attempt)
        for side in ("baseline", "patched"):
            vhds[side] = folder / f"{side}.vhd"
            with cloud.blobs().get_blob_client(scope, f"{side}-{scope.removeprefix('private-')}/image.vhd") as blob:
                download_vhd(blob, vhds[side])
    yield Sung(attempt, "\n".join(lines), asked, vhds)


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, with something in them."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_size]


def test_the_canaries_sing(sung: Sung, tmp_path: Path) -> None:
    assert sung.attempt.result["verdict"] == "fixed"
    # The guest was there, with all of the address; and the search finds what it looks for.
    assert any(FOLDER in target and FILE in target and QUERY in target for target in sung.asked)
    assert SIGNATURE in private_fix_url("sung-fix-zip").get_secret_value().replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")
    for number, (word, encoding) in enumerate((word, encoding) for word in WORDS for encoding in ("utf-8", "utf-16-le")):
        (tmp_path / str(number)).write_bytes(b"before " + word.upper().encode(encoding) + b" after")
        assert word in found_on(tmp_path / str(number), WORDS)


def test_they_are_not_in_the_logs_and_not_in_what_the_run_gave(sung: Sung) -> None:
    # Steps of private work are not told to Prefect's log at all.
    assert "Private fix" not in sung.log
    said = f"{sung.log} {json.dumps(sung.attempt.result)} {sung.attempt.state} {sung.attempt.events}".lower()
    assert [word for word in WORDS if word.lower() in said] == []


def test_they_are_not_in_the_prefect_database(sung: Sung) -> None:
    database = Path(urlsplit(str(PREFECT_API_DATABASE_CONNECTION_URL.value())).path)
    # Runs, states, parameters, logs, events, artifacts and blocks, of which the address is encrypted.
    files = sorted(database.parent.glob(f"{database.name}*"))
    deadline = time.monotonic() + 60
    while b"baseline image" not in b"".join(file.read_bytes() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for file in files:
        assert found_on(file, WORDS) == set(), file.name
    # Nor is what the fix made of Windows: that is told in the private container alone.
    everything = b"".join(file.read_bytes() for file in files)
    assert b"20348.5531" not in everything
    assert b"fix-" in everything


def test_they_are_nowhere_in_the_cloud(sung: Sung, workplace: Path) -> None:
    """Blobs of every container, the private one too; ARM's database with what was deleted from it; logs; the disks of checkpoints."""
    state = workplace / "state" / "local"
    places = {path.relative_to(state).parts[0] for path in files_of(state)}
    assert {"azurite", "disks", "resources.sqlite", "outside"} <= places
    found = {str(path.relative_to(state)): words for path in files_of(state) if (words := found_on(path, WORDS))}
    assert found == {}


def test_nothing_of_the_run_is_on_the_workers_disk(sung: Sung, workplace: Path) -> None:
    digits = scope_of_run(sung.attempt).removeprefix("private-")
    assert [path.name for path in output_folder().rglob("*") if digits in path.name] == []
    for path in files_of(output_folder()):
        if path.suffix != ".vhd":
            assert found_on(path, {*WORDS, digits}) == set(), path.name


@pytest.mark.parametrize("side", ["baseline", "patched"])
def test_they_are_not_on_the_images(sung: Sung, side: str) -> None:
    vhd = sung.vhds[side]
    assert found_on(vhd, WORDS) == set()
    assert found_on(vhd, {"ImageState", scope_of_run(sung.attempt)}) == {"ImageState", scope_of_run(sung.attempt)}
    digits = sung.attempt.result["fix"].removeprefix("private fix ")
    # The fix itself is in place, and the file that it came as is not.
    assert found_on(vhd, {f"fix-{digits}"}) == set()
    with open_file(vhd) as reader:
        assert "canary" not in inspect_reader(reader).inventory.model_dump_json()
