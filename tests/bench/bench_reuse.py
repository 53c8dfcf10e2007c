"""What reuse is worth: scenarios of scenarios.yaml against the reference and against their critical path, on the stand-in.

    .venv/bin/python -m tests.bench.bench_reuse [--scenario cold,package] [--factors 1 0.5 2] [--explain package]

Both sides run one after the other in this process, with the latencies of latency/azure-minutes.yaml; then those scenarios that
scenarios.yaml calls varied (with --thorough all of them) with the latencies times each further factor.
When everything was measured it writes docs/bench/results.json, docs/bench/reuse.svg and the tables in docs/bench.md, which explains them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.checkout import ROOT, build_source
from tests.bench.prefect_api import prefect_api
from tests.bench.report import draw, extrapolated, in_document, steps_apart, tables, where_it_went
from tests.bench.scenarios import Scenarios, load_scenarios

RESULTS = ROOT / "docs" / "bench" / "results.json"
DOCUMENT = ROOT / "docs" / "bench.md"
CHART = ROOT / "docs" / "bench" / "reuse.svg"
FACTORS = (1.0, 0.5, 2.0)
OVERHEAD = "overhead"
BUSY_LOAD = 0.5
"""Above it something else runs beside the benchmark."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(scenarios: Scenarios, wanted: list[str], factors: list[float], folder: Path, *, thorough: bool) -> dict[str, Any]:
    """Everything that is wanted, as results.json holds it."""
    # Only now: these import Prefect, which must know its API by then.
    from tests.bench.measurement import Session
    from tests.bench.overhead import measure_build, measure_packages
    from tests.bench.workplace import LATENCY

    results: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": build_source().commit,
        "machine": {
            "processors": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "latency_sha256": hashlib.sha256(LATENCY.read_bytes()).hexdigest(),
        "sweeps": [],
    }
    compared = [name for name in wanted if name != OVERHEAD]
    if compared:
        for number, factor in enumerate(factors):
            chosen = compared if thorough or not number else [name for name in compared if name in scenarios.varied]
            if not chosen:
                continue
            sweep = Session(scenarios, chosen, factor, folder / f"times-{factor:g}", _say).run()
            results["sweeps"].append(sweep.as_json())
        if len(results["sweeps"]) > 1:
            results["on_azure"] = extrapolated(results["sweeps"])
    if OVERHEAD in wanted:
        _say("overhead: no latency")
        packages = measure_packages(scenarios.overhead.packages, folder, _say)
        first, last = packages[0], packages[-1]
        more = last["packages"] - first["packages"]
        results[OVERHEAD] = {
            "build": measure_build(scenarios, folder, _say),
            "packages": packages,
            "ms_each": round((last["seconds"] - first["seconds"]) / more * 1000, 1),
            "cpu_ms_each": round((last["cpu_s"] - first["cpu_s"]) / more * 1000, 1),
            "goal_ms_each": scenarios.overhead.goal_ms_each,
        }
    return results


def main() -> None:
    """Measure, print the tables, and write results and chart."""
    scenarios = load_scenarios()
    known = [*scenarios.scenarios, OVERHEAD]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="", help=f"some of {', '.join(known)}, with commas between them; default: all")
    parser.add_argument("--factors", type=float, nargs="+", default=list(FACTORS), help="times all latencies; default: %(default)s")
    parser.add_argument("--thorough", action="store_true", help="every scenario with every factor: twice the time")
    parser.add_argument("--explain", default="", metavar="SCENARIO", help="also print its critical path and our steps, in minutes")
    parser.add_argument("--json", type=Path, help="write the measurements there; without it to docs/bench when all were made")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there, and leave everything for whoever looks")
    given = parser.parse_args()
    wanted = [name for name in given.scenario.split(",") if name] or known
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}; there are {', '.join(known)}")
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        _say(f"this machine is busy (load {load:.1f}): our own seconds will be more than they are")
    folder = given.keep.resolve() if given.keep else Path(tempfile.mkdtemp(prefix="winvhd-bench-"))
    try:
        with prefect_api(folder / "prefect"):
            results = measure(scenarios, wanted, given.factors, folder, thorough=given.thorough)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(tables(results))
    for name in given.explain.split(",") if given.explain else ():
        print(f"\n{where_it_went(results['sweeps'][0], name)}")
        if sum(name in sweep["scenarios"] for sweep in results["sweeps"]) > 1:
            print(f"\n{steps_apart(results['sweeps'], name)}")
    everything = set(wanted) == set(known) and set(given.factors) == set(FACTORS)
    target = given.json or (RESULTS if everything else None)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        if results["sweeps"]:
            draw(results, CHART if target == RESULTS else target.with_suffix(".svg"))
    if target == RESULTS:
        DOCUMENT.write_text(in_document(DOCUMENT.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
