"""E2EReport: what the suites found on a booted image, and its JUnit XML."""

from __future__ import annotations

import re
from typing import Literal
from xml.etree import ElementTree

from pydantic import Field

from images.frozen import Frozen

# What XML 1.0 can not hold, not even escaped (https://www.w3.org/TR/xml/#charsets): a guest's error text may have it.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class E2ECase(Frozen):
    """One check on the booted image."""

    suite: str
    name: str
    outcome: Literal["passed", "failed"]
    seconds: float = 0.0
    message: str = Field(default="", description="Why it failed.")


class E2EReport(Frozen):
    """All checks of a boot test."""

    image: str
    cases: tuple[E2ECase, ...]

    @property
    def failures(self) -> tuple[E2ECase, ...]:
        """The checks that failed."""
        return tuple(case for case in self.cases if case.outcome == "failed")


def render_junit(report: E2EReport) -> str:
    """JUnit XML, one testsuite a suite, control characters shown as U+FFFD; format: https://github.com/testmoapp/junitxml."""
    root = ElementTree.Element(
        "testsuites",
        name=report.image,
        tests=str(len(report.cases)),
        failures=str(len(report.failures)),
        time=f"{sum(c.seconds for c in report.cases):.3f}",
    )
    for suite in sorted({case.suite for case in report.cases}):
        cases = [case for case in report.cases if case.suite == suite]
        element = ElementTree.SubElement(
            root,
            "testsuite",
            name=suite,
            tests=str(len(cases)),
            failures=str(sum(case.outcome == "failed" for case in cases)),
            time=f"{sum(case.seconds for case in cases):.3f}",
        )
        for case in cases:
            item = ElementTree.SubElement(
                element, "testcase", classname=f"{report.image}.{suite}", name=_NOT_XML.sub("\ufffd", case.name), time=f"{case.seconds:.3f}"
            )
            if case.outcome == "failed":
                message = _NOT_XML.sub("\ufffd", case.message)
                ElementTree.SubElement(item, "failure", message=message).text = message
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
