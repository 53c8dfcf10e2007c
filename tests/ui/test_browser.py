"""Somebody presses Run in the Prefect UI, chooses an image by name, and finds the result there: nothing needs the command line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from images.inventory import Inventory
from tests.ui.conftest import Served

pytestmark = pytest.mark.browser

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IMAGE = "windows-2025"


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium found (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        yield page
        browser.close()


def test_image_chosen_in_the_form_is_built_and_shown(served: Served, page: Page, tmp_path: Path) -> None:
    before = served.build_runs()
    page.goto(f"{served.ui}/deployments")
    page.get_by_role("link", name="build-image").first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()

    page.get_by_label("image").click()
    page.get_by_role("option", name=IMAGE, exact=True).click()
    page.screenshot(path=tmp_path / "form.png")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").click()

    page.wait_for_url(re.compile("/runs/flow-run/"))
    (run_id,) = served.build_runs() - before
    assert run_id in page.url
    run = served.wait_for(run_id, {"COMPLETED"})
    assert (run["name"], run["parameters"]["image"]) == (f"build {IMAGE} on local", IMAGE)

    page.goto(f"{served.ui}/runs/flow-run/{run_id}?tab=TaskRuns")
    expect(page.get_by_text(f"build {IMAGE} on local").first).to_be_visible()
    expect(page.get_by_text("Inspect the captured disk").first).to_be_visible()
    page.screenshot(path=tmp_path / "run.png")
    page.get_by_role("tab", name="Artifacts").click()
    for key in ("progress", "layers", "steps", "release-notes", "vhd"):
        expect(page.get_by_text(f"{IMAGE}-{key}", exact=True).first).to_be_visible()
    page.screenshot(path=tmp_path / "artifacts.png", full_page=True)
    page.get_by_text(f"{IMAGE}-release-notes", exact=True).first.click()
    inventory = Inventory.model_validate_json((served.build_folder(run_id, IMAGE) / "inventory.json").read_text())
    expect(page.get_by_role("heading", name=re.compile(rf"^{IMAGE} {re.escape(inventory.os.version)}\."))).to_be_visible()
    page.screenshot(path=tmp_path / "notes.png")
