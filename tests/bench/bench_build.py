"""What a whole build costs: wall seconds, and the peak memory of all its processes together.

    .venv/bin/python -m tests.bench.bench_build [IMAGE] [--runs 3] [--json FILE]

Memory is the sum of the proportional set sizes (shared pages count once) of the command and everything it starts: Prefect server,
stand-in, Azurite. Linux only; a process that lives for less than the sampling interval may be missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from infra.checkout import ROOT

INTERVAL_S = 0.1


def measure(image: str) -> dict[str, Any]:
    """One build: wall seconds, peak memory in MB, and what the build says of itself."""
    started = time.monotonic()
    peak = 0
    with subprocess.Popen(
        [str(ROOT / ".venv" / "bin" / "winvhd"), "build", image, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as build:
        while build.poll() is None:
            peak = max(peak, _memory(build.pid))
            time.sleep(INTERVAL_S)
        wall = time.monotonic() - started
        output = build.stdout.read() if build.stdout else ""
    result = json.loads(output)
    if build.returncode != 0:
        raise SystemExit(f"the build failed: {result['what']}")
    return {"wall_s": round(wall, 1), "flow_s": result["seconds"], "peak_mb": round(peak / 1e6), "winrm": result["winrm"]}


def _memory(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def main() -> None:
    """Measure and print a table, or also write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", default="windows-2022-containerd")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the measurements there")
    given = parser.parse_args()
    runs = [measure(given.image) for _ in range(given.runs)]
    for run in runs:
        crossed = run["winrm"]
        print(
            f"{run['wall_s']:7.1f} s wall  {run['flow_s']:6.1f} s flow  {run['peak_mb']:5d} MB  {crossed['round_trips']:5d} round trips"
            f"  {crossed['sent_bytes']} bytes sent  {crossed['received_bytes']} received"
        )
    print(f"median {statistics.median(run['wall_s'] for run in runs):.1f} s, peak {max(run['peak_mb'] for run in runs)} MB")
    if given.json:
        given.json.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
