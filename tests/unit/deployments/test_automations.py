"""What the server does by itself knows every way in which a run of ours ends."""

from __future__ import annotations

import re

import yaml

from images.verdict import Outcome
from infra.checkout import ROOT
from infra.prefect.registration import AUTOMATIONS_FILE


def test_no_end_of_a_run_counts_as_silence() -> None:
    (automation,) = yaml.safe_load(AUTOMATIONS_FILE.read_text(encoding="utf-8"))["automations"]
    known = {event.removeprefix("prefect.flow-run.") for event in automation["trigger"]["expect"]}
    named = {name for file in (ROOT / "flows").glob("*.py") for name in re.findall(r'Completed\(name="([^"]+)"', file.read_text("utf-8"))}
    verdicts = {outcome.value.capitalize() for outcome in Outcome}
    assert named >= {"Nothing changed", "Skipped"}
    assert known >= {"heartbeat", "Completed", "Failed", "Cancelled", "Crashed"} | named | verdicts
