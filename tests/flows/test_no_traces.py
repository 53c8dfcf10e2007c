"""Nothing of the build is on the captured disk: its raw sectors are searched, as UTF-8 and UTF-16, for everything that the build knew."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tasks.contact_guest
from flows.build_image import build_image
from flows.choices import ImageChoice, Rebuild
from infra.azure.blob_storage import ArtifactCache
from infra.azure.profile import CloudProfile
from infra.checkout import state_folder
from infra.guest.contact import BUILD_ACCOUNT, first_contact
from infra.guest.endpoint import GuestEndpoint
from infra.guest.link import GuestLink
from infra.guest.package import SCRIPTS_FOLDER

WINDOW = 8 * 1024 * 1024
OVERLAP = 4096
SYNOPSIS = re.compile(r"\.SYNOPSIS\s*\n\s*(\S[^\n]*)")


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """What the builds of this test come to know, by kind; filled while they run."""
    known: dict[str, set[str]] = {"password": set(), "thumbprint": set(), "certificate": set(), "key": set(), "token": set(), "run": set()}
    read_sas, run_stage = ArtifactCache.read_sas, GuestLink.run_stage

    def contact(*arguments: object, **options: object) -> GuestEndpoint:
        endpoint = first_contact(*arguments, **options)  # type: ignore[arg-type]
        known["password"].add(endpoint.password.get_secret_value())
        known["thumbprint"].add(endpoint.thumbprint)
        known["certificate"].add("".join(endpoint.certificate.splitlines()[1:3]))
        for key in state_folder().rglob("MachineKeys/*"):
            known["key"] |= set(key.read_text("ascii").splitlines()[1:-1])
        return endpoint

    def sas(cache: ArtifactCache, *arguments: object, **options: object) -> object:
        address = read_sas(cache, *arguments, **options)  # type: ignore[arg-type]
        known["token"].add(address.get_secret_value().rpartition("sig=")[2].partition("&")[0])
        return address

    def stage(link: GuestLink, *arguments: object, run_id: str, **options: object) -> object:
        known["run"].add(run_id)
        return run_stage(link, *arguments, run_id=run_id, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tasks.contact_guest, "first_contact", contact)
    monkeypatch.setattr(ArtifactCache, "read_sas", sas)
    monkeypatch.setattr(GuestLink, "run_stage", stage)
    return known


def data_windows(path: Path) -> Iterator[bytes]:
    """The parts of a sparse file that hold data, in windows that overlap."""
    with path.open("rb") as file:
        end, size = 0, path.stat().st_size
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            for offset in range(start, end, WINDOW):
                file.seek(max(0, offset - OVERLAP))
                yield file.read(min(WINDOW, end - offset) + OVERLAP)


def found_on(path: Path, words: set[str]) -> set[str]:
    """Which of the words are on the disk, in any case, as UTF-8 or UTF-16LE."""
    forms = {form: word for word in words for form in (word.lower().encode(), word.lower().encode("utf-16-le"))}
    found: set[str] = set()
    for window in data_windows(path):
        lowered = window.lower()
        found |= {word for form, word in forms.items() if form in lowered}
    return found


@pytest.mark.parametrize("rebuild", ["everything", "image"], ids=["from-the-base-image", "from-a-checkpoint"])
def test_captured_disk_holds_nothing_of_the_build(
    rebuild: Rebuild, profile: CloudProfile, define: Callable[..., str], secrets: dict[str, set[str]]
) -> None:
    choice = ImageChoice(define(name="traceless", e2e_suites=["first-boot"]))
    result = build_image(choice, "local", "", "everything")
    if rebuild == "image":
        # The checkpoint's disk comes with the first build's account, certificate and scripts, and the second adds its own.
        result = build_image(choice, "local", "", rebuild)
        assert "layer artifacts" in (Path(result["folder"]) / "timings.json").read_text()
    vhd = Path(result["folder"]) / "image.vhd"
    assert all(secrets.values()), {kind: len(words) for kind, words in secrets.items()}
    scripts = {path.name: path.read_text(encoding="utf-8-sig") for path in SCRIPTS_FOLDER.iterdir()}
    synopses = {match[1].strip() for text in scripts.values() if (match := SYNOPSIS.search(text))}
    assert len(synopses) >= len(scripts) - 1
    words = {
        *(word for kind in secrets.values() for word in kind),
        *scripts,
        *synopses,
        BUILD_ACCOUNT,
        "winvhd-winrm-https",
        "winvhd-remoting",
        r"C:\winvhd",
        "sig=",
        "LocalAccountTokenFilterPolicy",
        "RunCommandHandlerWindows",
        "PRIVATE KEY",
    }
    assert found_on(vhd, words) == set()
    # The search itself finds what is there.
    assert found_on(vhd, {str(result["vhd_id"]), "containerd", "ImageState"}) == {str(result["vhd_id"]), "containerd", "ImageState"}
