"""How long documents and differences of large images take: seconds by number of cached files.

.venv/bin/python -m tests.bench.bench_render [--files 10 100 1000 10000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from images.diff.difference import compare_listings
from images.diff.listing import listing_of_inventory
from images.diff.rendering import render_difference
from images.notes.bom import render_bom
from images.notes.markdown import render_markdown
from images.notes.text import render_text
from images.published.parser import parse_notes
from tests.unit.images.notes.large import large_facts
from tests.unit.images.notes.parts import small_inventory

ROUNDS = 3


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of ROUNDS runs."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def measure(files: int) -> dict[str, float]:
    """Seconds for each render of an image with so many cached files."""
    facts = large_facts(files)
    notes = render_text(facts)
    before = listing_of_inventory(small_inventory(), "before")
    return {
        "release-notes.txt": best(lambda: render_text(facts)),
        "release-notes.md": best(lambda: render_markdown(facts)),
        "image-bom.json": best(lambda: render_bom(facts)),
        "inventory.json": best(lambda: facts.inventory.model_dump_json(indent=2)),
        "difference": best(lambda: render_difference(compare_listings(before, listing_of_inventory(facts.inventory, "after")), "text")),
        "notes read back": best(lambda: parse_notes(notes)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="*", type=int, default=[10, 100, 1000, 10_000])
    parser.add_argument("--json", type=Path, help="also write the measurements there")
    options = parser.parse_args()
    found = {files: measure(files) for files in options.files}
    lines = [f"{'seconds':<20}" + "".join(f"{files:>10}" for files in found)]
    lines += [f"{name:<20}" + "".join(f"{row[name]:>10.3f}" for row in found.values()) for name in next(iter(found.values()), {})]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
