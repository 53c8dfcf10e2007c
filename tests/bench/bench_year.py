"""A year in the life: the monthly runs of twelve months over all committed definitions, each run repeated at once.

    .venv/bin/python -m tests.bench.bench_year [--months 2026-07 2026-08] [--images windows-2022-containerd]

Each month has a run on the day after the second Tuesday, and one for the optional previews on the day after the fourth. The definitions are
the committed ones with `<build>.*` as their base, so that bases move as the stand-in's marketplace does, a week after their update. Exact
tags of Windows container images become `ltsc…` ones: they were not there before their month.
Nothing here waits for modelled latencies: seconds are our own and the stand-in's work. A repeated run that makes a VM is an error.
Writes docs/bench/year.json and docs/bench-year.md when the whole year was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import yaml

from images.catalogue import WINDOWS_BUILDS
from images.loading import definition_names, find_definition
from images.updates.patch_week import b_release, months_until, preview_week
from infra.checkout import ROOT, build_source
from infra.profiles import load_profile, start_stand_in
from tests.bench.prefect_api import prefect_api

RESULTS = ROOT / "docs" / "bench" / "year.json"
SECTION = ROOT / "docs" / "bench-year.md"
YEAR = months_until("2026-11", 12)
_EXACT_WINDOWS = re.compile(r":10\.0\.(\d+)\.\d+$")
_YEARS = {str(build): year for year, build in WINDOWS_BUILDS.items()}
Kind = Literal["b-week", "preview"]


@dataclass(frozen=True)
class YearRun:
    """One monthly run: what became of its images, what it cost, and what the same run right after it did."""

    month: str
    kind: Kind
    day: str
    built: int
    unchanged: int
    previews: int
    """How many of the images hold an optional preview."""
    layers_built: int
    layers_reused: int
    vms: int
    seconds: float
    repeated_vms: int
    repeated_seconds: float


def moving_definitions(folder: Path, names: Sequence[str]) -> list[str]:
    """The committed definitions as files in a folder, each with a base and Windows container images that follow its Windows build."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in names:
        content: dict[str, Any] = yaml.safe_load(find_definition(name).read_text(encoding="utf-8"))
        content["base"]["version"] = f"{content['base']['version'].split('.', 1)[0]}.*"
        content["container_images"] = list(dict.fromkeys(_EXACT_WINDOWS.sub(_ltsc_tag, image) for image in content["container_images"]))
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False, width=200), encoding="utf-8")
        paths.append(str(path))
    return paths


def _ltsc_tag(exact: re.Match[str]) -> str:
    return f":ltsc{_YEARS[exact[1]]}"


def run_day(month: str, kind: Kind) -> date:
    """The day of a month's run: after the second Tuesday, or after the fourth for previews."""
    release = b_release(month) if kind == "b-week" else preview_week(month)[1] - timedelta(days=6)
    return release + timedelta(days=1)


def measure(month: str, kind: Kind, images: list[str], folder: Path) -> YearRun:
    """One run and its repetition; SystemExit when an image fails, or the repetition changes anything."""
    day = run_day(month, kind)
    arm, gateway = load_profile("local").arm_endpoint, load_profile("local").outside_gateway
    httpx.put(f"{arm}/_standin/date", json={"date": day.isoformat()}, timeout=30).raise_for_status()
    feed = "msrc"
    if kind == "preview":
        # Microsoft's own feed has no previews.
        (folder / "feed.yaml").write_text(httpx.get(f"{gateway}/.feed", timeout=60).raise_for_status().text, encoding="utf-8")
        feed = str(folder / "feed.yaml")
    first = _run(kind, images, feed, day)
    again = _run(kind, images, feed, day)
    if again["vms"] or again["outcomes"] != ["unchanged"] * len(images):
        raise SystemExit(f"{month} {kind}: the repeated run made {again['vms']} VMs: {again['outcomes']}")
    outcomes = first["outcomes"]
    return YearRun(
        month=month,
        kind=kind,
        day=day.isoformat(),
        built=outcomes.count("built"),
        unchanged=outcomes.count("unchanged"),
        previews=first["previews"],
        layers_built=first["layers_built"],
        layers_reused=first["layers_reused"],
        vms=first["vms"],
        seconds=first["seconds"],
        repeated_vms=again["vms"],
        repeated_seconds=again["seconds"],
    )


def _run(kind: Kind, images: list[str], feed: str, day: date) -> dict[str, Any]:
    # Only now: these import Prefect, which must know its API by then.
    from flows.choices import ImageChoice
    from flows.monthly_patch_build import monthly_patch_build
    from tasks.progress import StepEvent, listening

    ended: list[StepEvent] = []
    before, started = _vms_made(), time.monotonic()
    moment = datetime(day.year, day.month, day.day, 20, tzinfo=UTC)
    with listening(lambda event: ended.append(event) if event.kind == "end" else None):
        state: Any = monthly_patch_build(kind, [ImageChoice(image) for image in images], "local", feed, "", moment, return_state=True)
    result = state.result()
    return {
        "outcomes": [row["outcome"] for row in result["rows"]],
        "previews": sum(str(row["version"]).endswith("(preview)") for row in result["rows"]),
        "layers_built": sum(event.step.startswith("checkpoint ") and event.outcome == "built" for event in ended),
        "layers_reused": sum(event.step.startswith("layer ") and event.outcome == "reused" for event in ended),
        "vms": _vms_made() - before,
        "seconds": round(time.monotonic() - started, 1),
    }


def _vms_made() -> int:
    arm = load_profile("local").arm_endpoint
    return int(httpx.get(f"{arm}/_standin/status", timeout=30).raise_for_status().json()["started"].get("vm.create", 0))


def totals(runs: Sequence[YearRun]) -> dict[str, float]:
    """The year in one line."""
    return {
        "runs": 2 * len(runs),
        "built": sum(run.built for run in runs),
        "skipped": sum(run.built + 2 * run.unchanged for run in runs),
        "layers_built": sum(run.layers_built for run in runs),
        "layers_reused": sum(run.layers_reused for run in runs),
        "vms": sum(run.vms + run.repeated_vms for run in runs),
        "minutes": round(sum(run.seconds + run.repeated_seconds for run in runs) / 60, 1),
        "repeated_vms": sum(run.repeated_vms for run in runs),
        "repeated_seconds_mean": round(sum(run.repeated_seconds for run in runs) / len(runs), 1),
    }


def section(results: dict[str, Any]) -> str:
    """The year as a section of docs/bench.md."""
    runs, all_of = [YearRun(**run) for run in results["runs"]], results["totals"]
    lines = [
        "# A year in the life",
        "",
        f"Monthly runs of {runs[0].month} to {runs[-1].month} over {len(results['images'])} definitions on the stand-in, without modelled",
        "latencies (`python -m tests.bench.bench_year`). Each run is repeated at once; a repeated run must change nothing.",
        "",
        f"**{all_of['built']} builds done, {all_of['skipped']} skipped, {all_of['layers_reused']} layers reused and"
        f" {all_of['layers_built']} built, {all_of['vms']} VMs, {all_of['minutes']} minutes.** The {len(runs)} repeated"
        f" runs made {all_of['repeated_vms']} VMs and took {all_of['repeated_seconds_mean']} s each.",
        "",
        "Bases are `<build>.*`, so that an image changes twice a month: when its update is out, and when the base image that holds it",
        "follows, with a preview where there is one. All layers lie on that of Windows and its updates, and change with it; what is reused",
        "is what images have in common (the two gen2 images of 2025).",
        "",
        "| month | kind | built | unchanged | with a preview | layers built | layers reused | VMs | s | repeated: VMs | s |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {run.month} | {run.kind} | {run.built} | {run.unchanged} | {run.previews} | {run.layers_built} | {run.layers_reused}"
        f" | {run.vms} | {run.seconds:.0f} | {run.repeated_vms} | {run.repeated_seconds:.1f} |"
        for run in runs
    ]
    return "\n".join(lines) + "\n"


def _measure_all(months: Sequence[str], names: Sequence[str], folder: Path) -> dict[str, Any]:
    os.environ["WINVHD_STATE"], os.environ["WINVHD_OUT"] = str(folder / "state"), str(folder / "out")
    images = moving_definitions(folder / "definitions", names)
    stand_in = start_stand_in(with_parent=True)
    runs: list[YearRun] = []
    try:
        for month in months:
            for kind in ("b-week", "preview"):
                runs.append(measure(month, kind, images, folder))
                print(json.dumps(asdict(runs[-1])), file=sys.stderr, flush=True)
                # Five gigabytes of sparse disks a run are nobody's any more.
                for vhd in (folder / "out").glob("*/image.vhd"):
                    with suppress(OSError):
                        vhd.unlink()
    finally:
        stand_in.stop()
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": build_source().commit,
        "processors": os.cpu_count(),
        "images": list(names),
        "runs": [asdict(run) for run in runs],
        "totals": totals(runs),
    }


def main() -> None:
    """Measure, print the section, and write it with the figures when it was the whole year."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", nargs="+", default=list(YEAR), help="default: December 2025 to November 2026")
    parser.add_argument("--images", nargs="+", default=list(definition_names()), help="names of definitions; default: all")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="winvhd-year-"))
    try:
        with prefect_api(folder / "prefect"):
            results = _measure_all(given.months, given.images, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(section(results))
    if tuple(given.months) == YEAR and tuple(given.images) == tuple(definition_names()):
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        SECTION.write_text(section(results), encoding="utf-8")


if __name__ == "__main__":
    main()
