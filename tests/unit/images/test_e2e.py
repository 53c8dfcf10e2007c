"""The JUnit report counts right and stays XML whatever a guest says."""

from __future__ import annotations

from xml.etree import ElementTree

from images.e2e import E2ECase, E2EReport, render_junit


def _parsed(*cases: E2ECase) -> ElementTree.Element:
    return ElementTree.fromstring(render_junit(E2EReport(image="img", cases=cases)).encode())


CASES = (
    E2ECase(suite="node", name="boots", outcome="passed", seconds=1.25),
    E2ECase(suite="node", name="joins", outcome="failed", seconds=0.5, message="exit code 1"),
    E2ECase(suite="inventory", name="agrees", outcome="passed"),
)


def test_report_counts_cases_failures_and_seconds_of_each_suite() -> None:
    root = _parsed(*CASES)
    assert root.attrib == {"name": "img", "tests": "3", "failures": "1", "time": "1.750"}
    suites = {suite.get("name"): (suite.get("tests"), suite.get("failures"), suite.get("time")) for suite in root}
    assert suites == {"inventory": ("1", "0", "0.000"), "node": ("2", "1", "1.750")}


def test_only_failed_cases_carry_a_failure_with_its_reason() -> None:
    failures = {case.get("name"): failure.text for case in _parsed(*CASES).iter("testcase") for failure in case}
    assert failures == {"joins": "exit code 1"}
    assert E2EReport(image="img", cases=CASES).failures == (CASES[1],)


def test_report_of_no_cases_is_sound() -> None:
    assert _parsed().get("tests") == "0"


def test_text_that_xml_can_not_hold_is_shown_as_replacement_characters() -> None:
    case = E2ECase(suite="node", name="a\x00b <&>", outcome="failed", message="\x1b[31mred\x1b[0m\n\ud800 ok \U0001f600")
    (item,) = _parsed(case).iter("testcase")
    assert item.get("name") == "a\ufffdb <&>"
    assert item[0].text == "\ufffd[31mred\ufffd[0m\n\ufffd ok \U0001f600"
