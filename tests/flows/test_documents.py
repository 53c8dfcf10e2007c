"""What a build says about its image can be verified, and every kind of tampering is found and named."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from typer.testing import CliRunner

from flows.build_image import build_image
from flows.choices import ImageChoice
from flows.cli.main import app
from images.errors import ConfigurationError, VerificationError
from images.provenance.statement import read_statement
from images.sbom.validation import sbom_problems
from infra.azure.profile import CloudProfile
from infra.local.disks.store import FolderDiskStore
from infra.signing.configured import KEY_BLOCK, public_key, signing_key
from tasks.verify_image import Check, verify_image
from tests.standin_fixtures import SMALL

PACKAGE = {"url": "https://packages.example.com/extra/v1.0.0/extra-v1.0.0.zip", "destination": "C:\\akse-cache\\extra\\"}
BLOCK = "the-signing-key"


@dataclass(frozen=True)
class Releases:
    """Two releases of one image: the first unsigned, the second signed and with one package more."""

    first: Path
    second: Path
    version: str
    """Of the first."""
    public: Path
    private: str


@pytest.fixture(scope="session")
def released() -> dict[str, Releases]:
    """Filled by the first test that asks for releases."""
    return {}


@pytest.fixture
def releases(
    profile: CloudProfile,
    workplace: Path,
    define: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    released: dict[str, Releases],
) -> Releases:
    if "releases" not in released:
        from prefect.blocks.system import Secret

        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        public = workplace / "signing.pub.pem"
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        first = build_image(ImageChoice(define(name="documented", e2e_suites=[])), "local", "")
        Secret(value=private).save(BLOCK)
        monkeypatch.setenv(KEY_BLOCK, BLOCK)
        packages = [*SMALL["packages"], PACKAGE]
        second = build_image(ImageChoice(define(name="documented", e2e_suites=[], packages=packages)), "local", "")
        released["releases"] = Releases(Path(first["folder"]), Path(second["folder"]), first["image_version"], public, private)
    return released["releases"]


@pytest.fixture
def copied(releases: Releases, tmp_path: Path) -> Path:
    """A folder with the signed release, to be tampered with."""
    folder = tmp_path / "copied"
    folder.mkdir()
    for path in releases.second.iterdir():
        # Sparse: the disk is mostly empty.
        subprocess.run(["cp", "--sparse=always", str(path), str(folder)], check=True)
    return folder


def _failed(checks: tuple[Check, ...]) -> dict[str, str]:
    return {check.what: check.detail for check in checks if check.outcome == "failed"}


def test_notes_say_what_changed_since_the_previous_release(releases: Releases) -> None:
    assert "What changed" not in (releases.first / "release-notes.md").read_text()
    notes = (releases.second / "release-notes.md").read_text()
    _, _, changes = notes.partition(f"## What changed since {releases.version}\n")
    assert r"- added `C:\akse-cache\extra\extra-v1.0.0.zip`" in changes.partition("\n## ")[0]


def test_sbom_follows_the_schema_and_names_the_vhd(releases: Releases) -> None:
    text = (releases.second / "sbom.cdx.json").read_text()
    assert sbom_problems(text) == ()
    statement = read_statement((releases.second / "provenance.json").read_bytes())
    (vhd,) = [subject for subject in statement.subject if subject.name == "image.vhd"]
    assert json.loads(text)["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": vhd.sha256}]


def test_provenance_names_every_file_of_the_build(releases: Releases) -> None:
    statement = read_statement((releases.second / "provenance.json").read_bytes())
    assert {subject.name for subject in statement.subject} == {
        path.name for path in releases.second.iterdir() if not path.name.startswith("provenance.")
    }
    assert not (releases.first / "provenance.dsse.json").exists()


def test_signing_key_is_in_no_document(releases: Releases) -> None:
    secret = releases.private.splitlines()[1].encode()
    for path in releases.second.iterdir():
        if path.suffix != ".vhd":
            assert secret not in path.read_bytes(), path.name


def test_signed_release_passes_every_check(releases: Releases) -> None:
    checks = verify_image(releases.second, public_key(releases.public))
    assert {check.outcome for check in checks} == {"passed"}
    assert {"signature", "image.vhd", "sbom.cdx.json", "disk against inventory"} <= {check.what for check in checks}


def test_unsigned_release_passes_without_a_key_only(releases: Releases) -> None:
    checks = verify_image(releases.first, None)
    assert _failed(checks) == {}
    assert Check("skipped", "signature", "this build was not signed") in checks
    assert "not signed" in _failed(verify_image(releases.first, public_key(releases.public)))["provenance"]


def test_command_prints_each_check_and_exits_by_the_outcome(releases: Releases, copied: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["verify", str(copied), "--key", str(releases.public)])
    assert (done.exit_code, done.stdout.count("✓"), done.stdout.count("✗")) == (0, len(done.stdout.splitlines()), 0)
    (copied / "release-notes.md").write_text("other")
    done = runner.invoke(app, ["verify", str(copied), "--key", str(releases.public)])
    assert (done.exit_code, done.stdout.count("✗")) == (VerificationError.exit_code, 1)
    assert "release-notes.md: has 5 bytes" in done.stderr
    done = runner.invoke(app, ["verify", str(copied), "--json"])
    assert json.loads(done.stdout)["exit_code"] == VerificationError.exit_code


def test_changed_and_missing_documents_are_named(releases: Releases, copied: Path) -> None:
    bill = copied / "image-bom.json"
    bill.write_text(bill.read_text().replace("pause", "pauze", 1))
    (copied / "e2e.xml").unlink()
    failed = _failed(verify_image(copied, public_key(releases.public)))
    assert set(failed) == {"image-bom.json", "e2e.xml"}
    assert failed["e2e.xml"] == "is missing"


def test_who_also_changes_the_provenance_is_caught_by_the_signature(releases: Releases, copied: Path) -> None:
    from tasks.write_provenance import file_digest

    notes = copied / "release-notes.txt"
    before = file_digest(notes).sha256
    notes.write_text(notes.read_text().replace("Build", "Bvild", 1))
    provenance = copied / "provenance.json"
    provenance.write_text(provenance.read_text().replace(before, file_digest(notes).sha256))
    # Without a key nothing contradicts it: that is what signatures are for.
    assert _failed(verify_image(copied, None)) == {}
    assert set(_failed(verify_image(copied, public_key(releases.public)))) == {"provenance.json", "release-notes.txt"}


def test_signature_of_another_key_is_refused(releases: Releases, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert "no signature is of the key" in _failed(verify_image(releases.second, public_key(other)))["provenance"]


def test_file_replaced_on_the_disk_is_named(releases: Releases, copied: Path, tmp_path: Path) -> None:
    store = FolderDiskStore(tmp_path / "disks")
    store.import_vhd(copied / "image.vhd", "opened", "V1", 35)
    (replaced,) = (tmp_path / "disks").rglob("extra-v1.0.0.zip")
    replaced.write_bytes(b"something else")
    (copied / "image.vhd").unlink()
    store.export_vhd("opened", copied / "image.vhd")
    checks = verify_image(copied, public_key(releases.public))
    assert {check.what for check in checks if check.outcome == "failed"} == {"image.vhd", "disk against inventory"}
    told = [check.detail for check in checks if check.what == "disk against inventory"]
    assert told
    assert all("extra-v1.0.0.zip" in detail for detail in told)


def test_damaged_disk_is_told_and_does_not_stop_the_other_checks(releases: Releases, copied: Path) -> None:
    with (copied / "image.vhd").open("r+b") as disk:
        disk.truncate(1024 * 1024)
    failed = _failed(verify_image(copied, public_key(releases.public)))
    assert set(failed) == {"image.vhd", "disk"}


def test_vhd_under_another_name_is_checked_with_the_documents_beside_it(releases: Releases, copied: Path) -> None:
    (copied / "image.vhd").rename(copied / "passed-on.vhd")
    for name in ("e2e.xml", "timings.json", "sbom.cdx.json"):
        (copied / name).unlink()
    checks = verify_image(copied / "passed-on.vhd", public_key(releases.public))
    assert {check.outcome for check in checks} == {"passed"}
    assert "disk against inventory" in {check.what for check in checks}


def test_vhd_alone_says_what_could_be_checked_and_fails(releases: Releases, copied: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "image.vhd"
    alone.parent.mkdir()
    shutil.move(copied / "image.vhd", alone)
    checks = verify_image(alone, None)
    assert [(check.outcome, check.what) for check in checks] == [
        ("failed", "provenance"),
        ("passed", "disk"),
        ("skipped", "disk against inventory"),
    ]


def test_names_that_lead_out_of_the_folder_are_refused(copied: Path) -> None:
    provenance = copied / "provenance.json"
    provenance.write_text(provenance.read_text().replace('"name": "e2e.xml"', '"name": "../e2e.xml"'))
    assert "'../e2e.xml'" in _failed(verify_image(copied, None))


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="there is no"):
        verify_image(tmp_path / "none", None)


def test_block_that_is_not_there_stops_a_build_before_it_begins(
    define: Callable[..., str], profile: CloudProfile, resource_groups: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_BLOCK, "no-such-block")
    before = resource_groups()
    with pytest.raises(ConfigurationError, match="no-such-block"):
        build_image(ImageChoice(define(name="documented")), "local", "")
    assert resource_groups() == before


def test_block_without_a_key_does_not_show_what_it_holds(profile: CloudProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.blocks.system import Secret

    held: Any = "not-a-key-but-secret"
    Secret(value=held).save("odd", overwrite=True)
    monkeypatch.setenv(KEY_BLOCK, "odd")
    with pytest.raises(ConfigurationError) as caught:
        signing_key()
    assert held not in str(caught.value)
