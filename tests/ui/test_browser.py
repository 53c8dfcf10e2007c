"""Somebody presses Run in the Prefect UI, chooses an image by name, and finds the result there: nothing needs the command line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

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
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def _open_form(page: Page, served: Served, deployment: str) -> None:
    """The form of a deployment, on the way that a person takes."""
    page.goto(f"{served.ui}/deployments")
    page.get_by_role("link", name=deployment, exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()


def _field(page: Page, name: str) -> Locator:
    """A field of the form; what may be left empty says (Optional) behind its name."""
    label = page.locator("label", has_text=re.compile(rf"^{name}( \(Optional\))?$"))
    return page.locator(f"[id='{label.get_attribute('for')}']")


def _submitted(page: Page) -> str:
    """Id of the run that the form's button makes; the link to it lies on the page for a few seconds only."""
    with page.expect_response(re.compile("/create_flow_run$")) as answer:
        page.get_by_role("button", name="Submit").click()
    made: dict[str, str] = answer.value.json()
    return made["id"]


def test_image_chosen_in_the_form_is_built_and_shown(served: Served, page: Page, tmp_path: Path) -> None:
    before = served.build_runs()
    _open_form(page, served, "build-image")
    page.get_by_label("image").click()
    page.get_by_role("option", name=IMAGE, exact=True).click()
    page.screenshot(path=tmp_path / "form.png")
    run_id = _submitted(page)
    assert served.build_runs() - before == {run_id}
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


def test_form_of_a_private_fix_takes_lists_choices_and_registry_values(served: Served, page: Page, tmp_path: Path) -> None:
    _open_form(page, served, "validate-private-fix")
    _field(page, "source").fill("no-such-block")
    _field(page, "sha256").fill("a" * 64)
    _field(page, "kind").click()
    page.get_by_role("option", name="msu", exact=True).click()
    page.get_by_role("button", name="Add item").nth(1).click()
    _field(page, "Path").fill(r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State")
    _field(page, "Name").fill("HNSControlFlag")
    page.get_by_role("spinbutton").first.fill("64")
    page.screenshot(path=tmp_path / "private-form.png", full_page=True)
    run_id = _submitted(page)

    given = served.get(f"/flow_runs/{run_id}")["parameters"]
    assert (given["kind"], given["suites"]) == ("msu", ["first-boot", "networking", "node-bootstrap"])
    (setting,) = given["registry"]
    assert (setting["name"], setting["value"]) == ("HNSControlFlag", 64)
    # Whose block is missing is told before anything is built.
    run = served.wait_for(run_id, {"FAILED"})
    assert run["name"] == f"private fix {'a' * 12} on windows-2022-containerd"
    assert "no-such-block" in run["state"]["message"]
    assert served.resource_groups() == []


def test_form_of_a_month_takes_images_and_a_moment(served: Served, page: Page, tmp_path: Path) -> None:
    _open_form(page, served, "monthly-preview")
    expect(_field(page, "kind")).to_contain_text("preview")
    _field(page, "images").click()
    page.get_by_role("option", name=IMAGE, exact=True).click()
    page.keyboard.press("Escape")
    _field(page, "feed").fill("no-such-feed.yaml")
    _field(page, "as_of").fill("next week")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("'next week' does not match").first).to_be_visible()
    page.screenshot(path=tmp_path / "monthly-form.png", full_page=True)
    # The message lies on the button, and stays while the mouse is there; without the other one below the field the button moves up.
    page.mouse.move(0, 0)
    _field(page, "as_of").fill("")
    expect(page.get_by_text("does not match")).to_have_count(0, timeout=20_000)
    run_id = _submitted(page)

    given = served.get(f"/flow_runs/{run_id}")["parameters"]
    assert (given["kind"], given["images"], given.get("as_of", "")) == ("preview", [IMAGE], "")
    run = served.wait_for(run_id, {"FAILED"})
    assert re.fullmatch(rf"20\d\d-\d\d preview of {IMAGE} on local", run["name"])
    assert "no-such-feed.yaml" in run["state"]["message"]
