"""A month of the MSRC's security updates in its CVRF form, and the updates that it speaks of.

The form is that of https://api.msrc.microsoft.com/cvrf/v3.0/swagger/v3/swagger.json, as far as it concerns updates; everything in a
remediation may be absent. Fields have the API's own names, its spelling of supersedence included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from pydantic import BaseModel, ConfigDict, Field

from images.updates.checkpoints import KNOWN_CHECKPOINTS
from images.updates.feed import FeedUpdate, UpdateKind, build_numbers
from images.updates.patch_week import pacific_day
from images.updates.products import is_dotnet, windows_build_of
from images.updates.supersedence import kb_number, superseded_kbs

VENDOR_FIX = 2
"""The type of a remediation that is an update; others are notes, mitigations and workarounds."""

_FIXED_BUILD = re.compile(r"10\.0\.(\d+\.\d+)")


class _Part(BaseModel):
    """A part of the API's answer: what we do not use may change."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Text(_Part):
    Value: str | None = None


class Product(_Part):
    ProductID: str
    Value: str


class ProductTree(_Part):
    FullProductName: tuple[Product, ...]


class Revision(_Part):
    Date: datetime | None = None


class Remediation(_Part):
    Type: int | str | None = None
    Description: Text | None = None
    Supercedence: str | None = None
    ProductID: tuple[str, ...] | None = None
    SubType: str | None = None
    FixedBuild: str | None = None
    RestartRequired: Text | None = None


class Vulnerability(_Part):
    CVE: str | None = None
    RevisionHistory: tuple[Revision, ...] | None = None
    Remediations: tuple[Remediation, ...] | None = None

    @property
    def published(self) -> date | None:
        """The day of its first revision in America/Los_Angeles."""
        days = [_day(revision.Date) for revision in self.RevisionHistory or () if revision.Date is not None]
        return min(days, default=None)


class Identification(_Part):
    ID: Text


class DocumentTracking(_Part):
    Identification: Identification
    InitialReleaseDate: datetime | None = None


class CvrfDocument(_Part):
    """The document of one month."""

    DocumentTracking: DocumentTracking
    ProductTree: ProductTree
    Vulnerability: tuple[Vulnerability, ...]

    @property
    def id(self) -> str:
        """The month as the API writes it, for example 2026-Aug."""
        return self.DocumentTracking.Identification.ID.Value or ""


class MonthEntry(_Part):
    """One line of the list of months."""

    ID: str
    InitialReleaseDate: datetime | None = None
    CvrfUrl: str | None = None


class MonthList(_Part):
    """The list of months."""

    value: tuple[MonthEntry, ...] = Field(description="One entry for each month that has a document.")


@dataclass
class _Found:
    """What the document says of one KB for one Windows build, collected from all of its vulnerabilities."""

    products: set[str] = field(default_factory=set)
    builds: set[str] = field(default_factory=set)
    subtypes: set[str] = field(default_factory=set)
    supersedes: set[str] = field(default_factory=set)
    cves: set[str] = field(default_factory=set)
    days: set[date] = field(default_factory=set)
    restart: bool = False


def updates_of(document: CvrfDocument, released: date) -> Iterator[FeedUpdate]:
    """The updates for Windows Server builds of ours; `released` is the day of those whose vulnerabilities name none."""
    names = {product.ProductID: product.Value for product in document.ProductTree.FullProductName}
    found: dict[tuple[int, str], _Found] = {}
    for vulnerability in document.Vulnerability:
        for remediation in vulnerability.Remediations or ():
            kb = _kb(remediation)
            products = [names[product] for product in remediation.ProductID or () if product in names]
            for product in products if kb else ():
                build = windows_build_of(product)
                if kb is not None and build is not None:
                    _collect(found.setdefault((build, kb), _Found()), vulnerability, remediation, product, kb)
    for (build, kb), about in sorted(found.items()):
        fixed = [fixed for fixed in about.builds if build_numbers(fixed)[0] == build]
        yield FeedUpdate(
            kb=kb,
            products=tuple(sorted(about.products)),
            windows_build=build,
            fixed_build=max(fixed, key=build_numbers, default=None),
            kind=_kind(kb, about, has_build=bool(fixed)),
            released=min(about.days, default=released),
            supersedes=tuple(sorted(about.supersedes)),
            cves=tuple(sorted(about.cves)),
            restart_required=about.restart,
        )


def _kb(remediation: Remediation) -> str | None:
    if remediation.Type != VENDOR_FIX or remediation.Description is None:
        return None
    return kb_number(remediation.Description.Value or "")


def _collect(about: _Found, vulnerability: Vulnerability, remediation: Remediation, product: str, kb: str) -> None:
    about.products.add(product)
    about.supersedes.update(superseded_kbs(remediation.Supercedence, kb))
    if vulnerability.CVE:
        about.cves.add(vulnerability.CVE)
    if vulnerability.published is not None:
        # The earliest: a vulnerability that is published later may name an update of weeks ago.
        about.days.add(vulnerability.published)
    if remediation.SubType:
        about.subtypes.add(remediation.SubType.casefold())
    build = _FIXED_BUILD.fullmatch((remediation.FixedBuild or "").strip())
    if build is not None:
        about.builds.add(build[1])
    # "Maybe" is what the MSRC says of most updates: only "No" is a promise.
    restart = (remediation.RestartRequired.Value or "") if remediation.RestartRequired else ""
    about.restart = about.restart or restart.casefold() != "no"


def _kind(kb: str, about: _Found, *, has_build: bool) -> UpdateKind:
    said = " ".join(sorted(about.subtypes))
    by_word = (
        ("hotpatch", UpdateKind.HOTPATCH),
        ("servicing stack", UpdateKind.SERVICING_STACK),
        ("rollup", UpdateKind.MONTHLY_ROLLUP),
        ("security only", UpdateKind.OTHER),
    )
    for word, kind in by_word:
        if word in said:
            return kind
    if any(is_dotnet(product) for product in about.products):
        return UpdateKind.DOTNET
    if kb in KNOWN_CHECKPOINTS:
        return UpdateKind.CHECKPOINT
    return UpdateKind.CUMULATIVE if has_build or "security update" in said else UpdateKind.OTHER


def _day(moment: datetime) -> date:
    # The API's times have no zone and are UTC: 07:00 and 08:00, midnight in Redmond.
    return pacific_day(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def release_day(moment: datetime | None, default: date) -> date:
    """The day in America/Los_Angeles of a time of the API, or the default."""
    return default if moment is None else _day(moment)
