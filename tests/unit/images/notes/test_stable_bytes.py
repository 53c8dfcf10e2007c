"""The same facts give the same bytes, in any process and for images of any size."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from images.diff.difference import compare_listings
from images.diff.listing import listing_of_inventory
from images.diff.rendering import DiffFormat, render_difference
from images.notes.bom import render_bom
from images.notes.facts import ReleaseFacts
from images.notes.markdown import render_markdown
from images.notes.summary import render_summary
from images.notes.text import render_text
from infra.checkout import ROOT
from tests.unit.images.notes.large import large_facts
from tests.unit.images.notes.parts import small_inventory

FILES = 10_000
FORMATS: tuple[DiffFormat, ...] = ("text", "markdown", "json")


def renders(facts: ReleaseFacts) -> dict[str, str]:
    """Everything that is rendered from an inventory, by name."""
    difference = compare_listings(listing_of_inventory(small_inventory(), "before"), listing_of_inventory(facts.inventory, "after"))
    return {
        "release-notes.txt": render_text(facts),
        "release-notes.md": render_markdown(facts),
        "image-bom.json": render_bom(facts),
        "summary": render_summary(facts.inventory),
        **{f"difference, {style}": render_difference(difference, style) for style in FORMATS},
    }


def digests(files: int) -> str:
    """A line with name and sha256 for each render of so many files."""
    return "".join(f"{name} {hashlib.sha256(text.encode()).hexdigest()}\n" for name, text in renders(large_facts(files)).items())


def test_ten_thousand_files_are_all_named_once() -> None:
    facts = large_facts(FILES)
    for name, text in renders(facts).items():
        wanted = 0 if name == "image-bom.json" else FILES
        assert text.count(".zip") == wanted, name


def test_same_bytes_in_every_process() -> None:
    program = "from tests.unit.images.notes.test_stable_bytes import digests; print(digests(500), end='')"
    seen = {digests(500)}
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        outcome = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        seen.add(outcome.stdout)
    assert len(seen) == 1


def test_other_order_in_memory_gives_the_same_difference() -> None:
    facts = large_facts(500)
    turned = facts.model_copy(update={"inventory": facts.inventory.model_copy(update={"cached_files": facts.inventory.cached_files[::-1]})})
    first, second = renders(facts), renders(turned)
    for style in FORMATS:
        assert first[f"difference, {style}"] == second[f"difference, {style}"]
