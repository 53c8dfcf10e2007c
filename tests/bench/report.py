"""The tables and the chart of a benchmark's results (docs/bench/results.json)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
COLOURS = {"reference": "#9aa3ad", "ours": "#2f6fb5", "critical": "#222222"}


def tables(results: dict[str, Any]) -> str:
    """What the terminal shows: ratios first."""
    lines: list[str] = []
    for sweep in results["sweeps"]:
        pace = sweep["seconds_per_minute"]
        lines += ["", f"latencies times {sweep['factor']:g}: a minute takes {pace:.2f} s (columns in minutes of Azure)"]
        rows: list[tuple[str, ...]] = [
            ("scenario", "times faster", "of critical path", "of one build", "ours", "reference", "critical path", "VMs", "goal")
        ]
        for one in sweep["scenarios"].values():
            over = f"{one['over_critical']:.2f}" if one["critical_s"] else "-"
            minutes = [f"{one[name] / pace:.1f}" for name in ("ours_s", "reference_s", "critical_s")]
            vms = str(one["operations"].get("vm.create", 0))
            alone = f"{one['of_one_build']:.2f}" if one["of_one_build"] else "-"
            rows.append((one["title"], f"{one['times_faster']:.1f}", over, alone, *minutes, vms, one["goal"]))
        lines += _aligned(rows)
    if len(results["sweeps"]) > 1:
        lines += ["", "on Azure's own clock: what is left when our seconds, which do not grow with the latencies, no longer count"]
        rows = [("scenario", "times faster", "of critical path", "ours (min)", "critical path (min)", "our own seconds")]
        for name, one in extrapolated(results["sweeps"]).items():
            over = f"{one['over_critical']:.2f}" if one["critical_min"] else "-"
            title = results["sweeps"][0]["scenarios"][name]["title"]
            rows.append(
                (title, f"{one['times_faster']:.1f}", over, f"{one['ours_min']:.1f}", f"{one['critical_min']:.1f}", f"{one['own_s']:.1f}")
            )
        lines += _aligned(rows)
    if "overhead" in results:
        lines += ["", *_overhead(results["overhead"])]
    return "\n".join(lines).lstrip("\n")


def in_document(text: str, results: dict[str, Any]) -> str:
    """A document whose part between the marks is replaced by the tables of these results."""
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    machine = results["machine"]
    made = (
        f"Measured {results['made'][:10]} at commit {results['commit'][:12]}: {machine['processors']} processors, {machine['system']},"
        f" load before {machine['load_before']:.1f}."
    )
    return f"{before}{BEGIN}\n\n{made}\n\n```text\n{tables(results)}\n```\n\n{END}{after}"


def extrapolated(sweeps: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each scenario of all sweeps the straight line through its seconds: minutes of Azure (the slope) and our own seconds.

    At Azure's scale, 60 s a minute, our own seconds are added as they are.
    """
    found: dict[str, dict[str, float]] = {}
    paces = [sweep["seconds_per_minute"] for sweep in sweeps]
    for name in sweeps[0]["scenarios"]:
        if not all(name in sweep["scenarios"] for sweep in sweeps):
            continue
        ours_min, own_s = _line(paces, [sweep["scenarios"][name]["ours_s"] for sweep in sweeps])
        reference_min, reference_own_s = _line(paces, [sweep["scenarios"][name]["reference_s"] for sweep in sweeps])
        critical_min = sweeps[0]["scenarios"][name]["critical_s"] / paces[0]
        ours, reference = max(0.0, ours_min) * 60 + max(0.0, own_s), reference_min * 60 + reference_own_s
        found[name] = {
            "ours_min": round(ours / 60, 2),
            "critical_min": round(critical_min, 2),
            "own_s": round(own_s, 2),
            "times_faster": round(reference / ours, 2),
            "over_critical": round(ours / 60 / critical_min, 3) if critical_min else 0.0,
        }
    return found


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """(slope, value at 0) of the least squares line."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - mean_x) ** 2 for one in x)
    slope = sum((one - mean_x) * (other - mean_y) for one, other in zip(x, y, strict=True)) / spread
    return slope, mean_y - slope * mean_x


def _overhead(overhead: dict[str, Any]) -> list[str]:
    lines = []
    if "build" in overhead:
        build = overhead["build"]
        lines.append(f"without latency: cold {build['cold_s']:.1f} s, nothing changed {build['unchanged_s']:.2f} s")
        lines += _listed("peak memory, MB", build["peak_mb"], "together")
        lines += _listed("processor seconds of the cold build", build["cpu_s"])
        lines += _listed("of them in the build's own process", build["cpu_of_the_build_s"])
        lines += _listed("imports in a fresh Python, s", build["import_s"])
        slowest = sorted(build["steps"], key=lambda step: -float(step["seconds"]))[:8]
        lines += _listed("longest steps, s", {step["name"]: step["seconds"] for step in slowest})
    if "packages" in overhead:
        counted = "; ".join(f"{one['packages']} in {one['seconds']:.1f} s" for one in overhead["packages"])
        each, cpu, goal = (overhead[name] for name in ("ms_each", "cpu_ms_each", "goal_ms_each"))
        lines.append(f"packages: {counted}: {each:.1f} ms each, {cpu:.1f} ms of processors (goal: at most {goal:.0f})")
    return lines


def _listed(title: str, values: dict[str, float], first: str = "") -> list[str]:
    ordered = sorted(values.items(), key=lambda item: (item[0] != first, -item[1]))
    return [f"{title}: " + ", ".join(f"{name} {value:g}" for name, value in ordered)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def where_it_went(sweep: dict[str, Any], name: str) -> str:
    """One scenario's critical path, and the steps of our build beside it, in minutes of Azure."""
    one, pace = sweep["scenarios"][name], sweep["seconds_per_minute"]
    lines = [f"{one['title']}: {one['ours_s'] / pace:.1f} min, critical path {one['critical_s'] / pace:.1f} min", "", "critical path:"]
    at = 0.0
    for operation, minutes in one["critical_path"]:
        lines.append(f"  {at:7.2f}  +{minutes:5.2f}  {operation}")
        at += minutes
    lines += ["", "our steps:"]
    for step in one["steps"]:
        begin, end = step["starts_at"] / pace, step["ends_at"] / pace
        lines.append(f"  {begin:7.2f}  +{end - begin:5.2f}  {step['name']}")
    return "\n".join(lines)


def steps_apart(sweeps: Sequence[dict[str, Any]], name: str) -> str:
    """Each step of a scenario's build as minutes of Azure, which grow with the latencies, and our own seconds, which do not."""
    measured = [sweep for sweep in sweeps if name in sweep["scenarios"]]
    sums: list[dict[str, float]] = []
    for sweep in measured:
        sums.append({})
        for step in sweep["scenarios"][name]["steps"]:
            sums[-1][step["name"]] = sums[-1].get(step["name"], 0.0) + step["ends_at"] - step["starts_at"]
    lines = ["minutes  own s"]
    for step in sums[0]:
        minutes, own_s = _line([sweep["seconds_per_minute"] for sweep in measured], [one.get(step, 0.0) for one in sums])
        lines.append(f"{minutes:7.2f} {own_s:6.2f}  {step}")
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Path) -> None:
    """A bar chart of the sweep with the committed latencies, as SVG: our minutes and the reference's, with the critical path marked."""
    import matplotlib as mpl

    mpl.use("svg")
    # The same results give the same bytes.
    mpl.rcParams["svg.hashsalt"] = "winvhd"
    from matplotlib import pyplot as plt

    sweep = min(results["sweeps"], key=lambda one: abs(float(one["factor"]) - 1))
    scenarios, pace = list(sweep["scenarios"].values()), sweep["seconds_per_minute"]
    figure, axes = plt.subplots(figsize=(9, 0.8 * len(scenarios) + 1.6))
    for place, one in enumerate(scenarios):
        axes.barh(place - 0.19, one["reference_s"] / pace, 0.36, color=COLOURS["reference"], label="reference" if not place else None)
        axes.barh(place + 0.19, one["ours_s"] / pace, 0.36, color=COLOURS["ours"], label="winvhd" if not place else None)
        critical = one["critical_s"] / pace
        axes.plot([critical, critical], [place, place + 0.38], color=COLOURS["critical"], label="critical path" if not place else None)
        axes.text(one["ours_s"] / pace, place + 0.19, f"  {one['times_faster']:.1f}×", va="center", fontsize=9)
    axes.set_yticks(range(len(scenarios)), [one["title"] for one in scenarios])
    axes.invert_yaxis()
    axes.set_xlabel(f"minutes on Azure by the latency profile (measured with {pace:.2f} s a minute)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
