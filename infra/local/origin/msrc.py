"""The MSRC's CVRF API as far as a reader of updates uses it: the list of months, and a document for each; made from the calendar.

It has the untidiness of the real one: remediations that are no updates, products that are no Windows Server, fields that are absent, and
supersedence in every spelling that is seen there. https://github.com/microsoft/MSRC-Microsoft-Security-Updates-API
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from infra.local.origin.update_calendar import CUMULATIVE_UPDATES, SIDE_UPDATES, CumulativeUpdate, SideUpdate

HOST = "api.msrc.microsoft.com"
PREFIX = "cvrf/v3.0"
FIRST_MONTH = "2025-10"

_REDMOND = ZoneInfo("America/Los_Angeles")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CATALOG = "https://catalog.update.microsoft.com/v7/site/Search.aspx?q="
_PRODUCTS = {
    "11568": "Windows 10 Version 1809 for 32-bit Systems",
    "11571": "Windows Server 2019",
    "11572": "Windows Server 2019 (Server Core installation)",
    "11923": "Windows Server 2022",
    "11924": "Windows Server 2022 (Server Core installation)",
    "12244": "Windows Server 2022, 23H2 Edition (Server Core installation)",
    "12436": "Windows Server 2025",
    "12437": "Windows Server 2025 (Server Core installation)",
    "11655": "Microsoft Edge (Chromium-based)",
    "11650-11571": "Microsoft .NET Framework 3.5 AND 4.7.2 on Windows Server 2019",
    "11723-11923": "Microsoft .NET Framework 3.5 AND 4.8 on Windows Server 2022",
    "12200-12436": "Microsoft .NET Framework 3.5 AND 4.8.1 on Windows Server 2025",
}
_OF_BUILD = {17763: ("11568", "11571", "11572"), 20348: ("11923", "11924"), 26100: ("12436", "12437")}
_DOTNET_OF_BUILD = {17763: ("11650-11571",), 20348: ("11723-11923",), 26100: ("12200-12436",)}

Json = dict[str, Any]


def month_list(day: date | None) -> Json:
    """The answer of /updates: the months that have a document on a day (None: all)."""
    return {"@odata.context": f"https://{HOST}/{PREFIX}/$metadata#Updates", "value": [_entry(month, day) for month in _months(day)]}


def month_document(identifier: str, day: date | None) -> Json | None:
    """The answer of /cvrf/<id>, for example 2026-Aug; None when there is no such document on that day."""
    month = next((month for month in _months(day) if _id(month) == identifier), None)
    if month is None:
        return None
    updates = _cumulative(month, day)
    sides = [each for each in SIDE_UPDATES if f"{each.released:%Y-%m}" == month and (day is None or each.released <= day)]
    entry = _entry(month, day)
    return {
        "DocumentTitle": {"Value": f"{_name(month)} Security Updates"},
        "DocumentType": {"Value": "Security Update"},
        "DocumentPublisher": {"ContactDetails": {"Value": "secure@microsoft.com"}, "IssuingAuthority": {"Value": "MSRC"}, "Type": 0},
        "DocumentTracking": {
            "Identification": {"ID": {"Value": identifier}, "Alias": {"Value": identifier}},
            "Status": 2,
            "Version": "1.0",
            "RevisionHistory": [{"Number": "1", "Date": entry["InitialReleaseDate"], "Description": {"Value": "Initial"}}],
            "InitialReleaseDate": entry["InitialReleaseDate"],
            "CurrentReleaseDate": entry["CurrentReleaseDate"],
        },
        "ProductTree": {
            "Branch": [],
            "FullProductName": [{"ProductID": product, "Value": name, "CPE": None} for product, name in _PRODUCTS.items()],
        },
        "Vulnerability": list(_vulnerabilities(month, updates, sides)),
    }


def _cumulative(month: str, day: date | None) -> list[CumulativeUpdate]:
    """The month's security releases: the MSRC knows no previews."""
    return [
        each
        for each in CUMULATIVE_UPDATES
        if each.kind != "preview" and f"{each.released:%Y-%m}" == month and (day is None or each.released <= day)
    ]


def _months(day: date | None) -> list[str]:
    found = {f"{each.released:%Y-%m}" for each in CUMULATIVE_UPDATES if each.kind != "preview" and (day is None or each.released <= day)}
    return sorted(month for month in found if month >= FIRST_MONTH)


def _id(month: str) -> str:
    year, number = month.split("-")
    return f"{year}-{_MONTHS[int(number) - 1]}"


def _name(month: str) -> str:
    return f"{datetime.strptime(month, '%Y-%m').replace(tzinfo=UTC):%B %Y}"


def _midnight(day: date) -> str:
    """Midnight in Redmond as the API writes it: UTC without saying so."""
    return f"{datetime.combine(day, time(), _REDMOND).astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def _entry(month: str, day: date | None) -> Json:
    days = [each.released for each in _cumulative(month, day)]
    return {
        "ID": _id(month),
        "Alias": _id(month),
        "DocumentTitle": f"{_name(month)} Security Updates",
        "Severity": None,
        "InitialReleaseDate": f"{_midnight(min(days))}Z",
        "CurrentReleaseDate": f"{_midnight(max(days))}Z",
        "CvrfUrl": f"https://{HOST}/{PREFIX}/cvrf/{_id(month)}",
    }


def _vulnerabilities(month: str, updates: Sequence[CumulativeUpdate], sides: Sequence[SideUpdate]) -> Iterator[Json]:
    first = int(month.replace("-", "")) % 1000 * 100
    year = month[:4]
    ordinary = [each for each in updates if each.kind != "out-of-band"]
    for number in range(4):
        # Not every vulnerability is in every Windows.
        hit = [each for index, each in enumerate(ordinary) if (number + index) % 4 != 3]
        if hit:
            remediations = [remediation for each in hit for remediation in _remediations(each, number)]
            yield _vulnerability(f"CVE-{year}-{first + number}", hit[0].released, [*remediations, _note()])
    for number, side in enumerate(sides, 4):
        yield _vulnerability(f"CVE-{year}-{first + number}", side.released, [_side(side)])
    for number, urgent in enumerate((each for each in updates if each.kind == "out-of-band"), 20):
        yield _vulnerability(f"CVE-{year}-{first + number}", urgent.released, _remediations(urgent, number))
    yield _vulnerability(f"CVE-{year}-{first + 90}", min(each.released for each in updates), [_browser(), _note()])


def _vulnerability(cve: str, published: date, remediations: list[Json]) -> Json:
    products = sorted({product for remediation in remediations for product in remediation.get("ProductID", [])})
    return {
        "Title": {"Value": f"Windows Stand-in Elevation of Privilege Vulnerability {cve[-4:]}"},
        "Notes": [{"Title": "Description", "Type": 2, "Ordinal": "0", "Value": ""}],
        "CVE": cve,
        "ProductStatuses": [{"ProductID": products, "Type": 3}],
        "Threats": [
            {"Description": {"Value": "Elevation of Privilege"}, "ProductID": products, "Type": 0},
            {"Description": {"Value": "Publicly Disclosed:No;Exploited:No;Latest Software Release:Exploitation Less Likely"}, "Type": 1},
            {"Description": {"Value": "Important"}, "ProductID": products, "Type": 3},
        ],
        "CVSSScoreSets": [{"BaseScore": 7.8, "TemporalScore": 6.8, "Vector": "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H"}],
        "Remediations": remediations,
        "Acknowledgments": [],
        "Ordinal": "0",
        "RevisionHistory": [{"Number": "1.0", "Date": _midnight(published), "Description": {"Value": "<p>Information published.</p>\n"}}],
    }


def _remediations(update: CumulativeUpdate, number: int) -> list[Json]:
    digits = update.kb.removeprefix("KB")
    remediation: Json = {
        "Description": {"Value": digits},
        "URL": f"{_CATALOG}{update.kb}",
        "Supercedence": _supercedence(update, number),
        "ProductID": list(_OF_BUILD[update.build]),
        "Type": 2,
        "DateSpecified": False,
        "AffectedFiles": [],
        "RestartRequired": {"Value": "Yes"},
        "SubType": "Security Update",
        "FixedBuild": f"10.0.{update.fixed_build}",
    }
    if number % 4 == 2:
        # Some lines say little more than the number.
        for name in ("SubType", "FixedBuild", "RestartRequired"):
            del remediation[name]
    found = [remediation]
    if update.build == 20348:
        other = remediation | {"Description": {"Value": f"98{digits[-5:]}"}, "ProductID": ["12244"], "FixedBuild": "10.0.25398.2025"}
        found.append(other | {"Supercedence": ""})
    if update.build == 26100 and update.kind == "b-release":
        hotpatch = {"SubType": "Security Hotpatch Update", "FixedBuild": f"10.0.26100.{update.ubr - 20}", "Supercedence": ""}
        found.append(remediation | hotpatch | {"Description": {"Value": f"97{digits[-5:]}"}, "RestartRequired": {"Value": "No"}})
    return found


def _supercedence(update: CumulativeUpdate, number: int) -> str | None:
    """The update before it that was no preview, in one of the ways in which the field is filled in."""
    before = [
        each.kb.removeprefix("KB")
        for each in CUMULATIVE_UPDATES
        if each.build == update.build and each.ubr < update.ubr and each.kind != "preview"
    ][-2:]
    if not before:
        return None
    own = update.kb.removeprefix("KB")
    spellings = (
        before[-1],
        "; ".join(before[::-1]),
        f"KB{before[-1]},{own}",
        None,
        f"KB {before[-1]};;",
    )
    return spellings[(number + update.ubr) % len(spellings)]


def _side(side: SideUpdate) -> Json:
    dotnet = side.kind == "dotnet"
    before = [each.kb for each in SIDE_UPDATES if (each.build, each.kind) == (side.build, side.kind) and each.released < side.released]
    return {
        "Description": {"Value": side.kb.removeprefix("KB")},
        "URL": f"{_CATALOG}{side.kb}",
        "Supercedence": before[-1].removeprefix("KB") if before else "",
        "ProductID": list((_DOTNET_OF_BUILD if dotnet else _OF_BUILD)[side.build]),
        "Type": 2,
        "RestartRequired": {"Value": "Maybe" if dotnet else "No"},
        "SubType": "Security Update" if dotnet else "Servicing Stack Update",
        **({"FixedBuild": "4.8.4772.0"} if dotnet else {}),
    }


def _browser() -> Json:
    return {
        "Description": {"Value": "Release Notes"},
        "URL": "https://docs.microsoft.com/deployedge/microsoft-edge-relnotes-security",
        "ProductID": ["11655"],
        "Type": 2,
        "SubType": "Security Update",
        "FixedBuild": "141.0.3537.57",
        "RestartRequired": {"Value": "No"},
    }


def _note() -> Json:
    return {"Description": {"Value": "The following workaround may help: 5000000 is a number, not an update."}, "URL": "", "Type": 0}


def answer(path: str, day: date | None) -> Json | None:
    """The document at a path of the API's host, None when there is none."""
    if path == f"{PREFIX}/updates":
        return month_list(day)
    found = re.fullmatch(rf"{re.escape(PREFIX)}/cvrf/([^/]+)", path)
    return month_document(found[1], day) if found else None
