"""The MSRC's feed over real HTTP: what the stand-in serves, and every way in which a feed can be no use."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import httpx
import pytest

from images.errors import FeedError
from images.updates.feed import FeedUpdate, UpdateKind
from images.updates.patch_week import months_until
from infra.feeds.msrc import API, MsrcFeed, month_id, month_of_id
from infra.feeds.msrc_document import CvrfDocument, updates_of
from tests.unit.feeds.conftest import Microsoft
from tests.unit.fetch.serving import Answer, Server

MONTHS = months_until("2026-11", 14)


@pytest.fixture
def feed(microsoft: Microsoft, client: httpx.Client) -> MsrcFeed:
    return MsrcFeed(client, microsoft.route, first_wait_s=0.001)


@pytest.fixture
def served(server: Server, client: httpx.Client) -> MsrcFeed:
    """The feed as the test's own server answers for it."""
    return MsrcFeed(client, server.route, first_wait_s=0.001)


def of(updates: tuple[FeedUpdate, ...], month: str, build: int) -> dict[str, FeedUpdate]:
    return {update.kb: update for update in updates if (update.month, update.windows_build) == (month, build)}


def test_months_are_listed_from_october_2025_to_november_2026(feed: MsrcFeed) -> None:
    assert feed.months() == MONTHS


def test_months_have_their_ids() -> None:
    assert [month_of_id(month_id(month)) for month in MONTHS] == list(MONTHS)
    assert month_id("2026-08") == "2026-Aug"
    assert [month_of_id(text) for text in ("2017-May-B", "2026-08", "May", "")] == [None] * 4


def test_a_month_gives_the_updates_of_our_windows_servers(feed: MsrcFeed) -> None:
    updates = feed.updates(["2026-08"])
    assert {update.windows_build for update in updates} == {17763, 20348, 26100}
    cumulative = of(updates, "2026-08", 20348)["KB5120242"]
    assert (cumulative.fixed_build, cumulative.kind, cumulative.week) == ("20348.5499", UpdateKind.CUMULATIVE, "B")
    assert cumulative.released == date(2026, 8, 11)
    assert cumulative.supersedes[-1] == "KB9485386"
    assert "KB5120242" not in cumulative.supersedes
    assert cumulative.cves == ("CVE-2026-60800", "CVE-2026-60801", "CVE-2026-60803")
    assert cumulative.products == ("Windows Server 2022", "Windows Server 2022 (Server Core installation)")
    assert (cumulative.url, cumulative.sha256, cumulative.restart_required) == (None, None, True)
    kinds = {update.kb: update.kind for update in updates}
    assert (kinds["KB5120241"], kinds["KB5120705"]) == (UpdateKind.SERVICING_STACK, UpdateKind.DOTNET)
    assert [update.restart_required for update in updates if update.kb == "KB5120241"] == [False]
    hotpatches = [update for update in updates if update.kind is UpdateKind.HOTPATCH]
    assert [update.windows_build for update in hotpatches] == [26100]
    # What is for other products, or no update at all, is not there.
    assert {update.kb for update in updates} == {"KB9639012", "KB5120242", "KB5120241", "KB5120705", "KB9003296", hotpatches[0].kb}


def test_every_month_of_every_windows_has_a_release_but_one(feed: MsrcFeed) -> None:
    updates = feed.updates(MONTHS)
    missing = [
        (month, build)
        for month in MONTHS
        for build in (17763, 20348, 26100)
        if not any(update.week == "B" and update.kind is UpdateKind.CUMULATIVE for update in of(updates, month, build).values())
    ]
    assert missing == [("2026-07", 17763)]
    urgent = [(update.windows_build, update.released) for update in updates if update.out_of_band]
    assert urgent == [(20348, date(2026, 1, 17)), (26100, date(2026, 1, 17))]
    assert not any(update.kind is UpdateKind.PREVIEW for update in updates)


def test_nothing_is_told_before_its_day(feed: MsrcFeed, microsoft: Microsoft) -> None:
    microsoft.today.pretend(date(2026, 1, 12))
    assert feed.months()[-1] == "2025-12"
    assert feed.updates(["2026-01"]) == ()
    microsoft.today.pretend(date(2026, 1, 13))
    assert not any(update.out_of_band for update in feed.updates(["2026-01"]))
    microsoft.today.pretend(date(2026, 1, 17))
    assert any(update.out_of_band for update in feed.updates(["2026-01"]))


def test_a_month_without_a_document_has_no_updates(feed: MsrcFeed) -> None:
    assert feed.updates(["2015-01", "2031-01"]) == ()


def test_a_text_that_is_no_month_is_refused(feed: MsrcFeed) -> None:
    with pytest.raises(ValueError, match="not a month"):
        feed.updates(["2026-Aug"])


def test_a_feed_that_blinks_is_asked_again(feed: MsrcFeed, microsoft: Microsoft) -> None:
    microsoft.strike("ServiceUnavailable", 503, times=2)
    assert feed.months() == MONTHS
    assert microsoft.faults.counters()[0]["struck"] == 2


def test_a_feed_that_is_down_is_an_error_with_a_way_out(feed: MsrcFeed, microsoft: Microsoft) -> None:
    microsoft.strike("ServiceUnavailable", 503)
    with pytest.raises(FeedError, match="the MSRC's update feed does not answer: HTTP 503") as caught:
        feed.months()
    assert (caught.value.exit_code, caught.value.where) == (23, f"{API}/updates")
    assert "docs/update-feed.md" in caught.value.hint
    assert microsoft.faults.counters()[0]["struck"] == 4


def test_a_feed_that_refuses_is_not_asked_again(feed: MsrcFeed, microsoft: Microsoft) -> None:
    microsoft.strike("Forbidden", 403)
    with pytest.raises(FeedError, match="HTTP 403"):
        feed.updates(["2026-08"])
    assert microsoft.faults.counters()[0]["struck"] == 1


def test_an_unreachable_feed_is_an_error(client: httpx.Client) -> None:
    feed = MsrcFeed(client, lambda _: "http://127.0.0.1:9/updates", first_wait_s=0.001)
    with pytest.raises(FeedError, match="ConnectError"):
        feed.months()


def test_an_answer_that_is_cut_off_is_told_as_such(feed: MsrcFeed, microsoft: Microsoft) -> None:
    microsoft.strike("truncated")
    with pytest.raises(FeedError, match="gives something else than it should"):
        feed.updates(["2026-08"])


LIST = {"value": [{"ID": "2026-Aug", "InitialReleaseDate": "2026-08-11T07:00:00Z"}]}


def document(**changes: Any) -> dict[str, Any]:
    content = {
        "DocumentTracking": {"Identification": {"ID": {"Value": "2026-Aug"}}},
        "ProductTree": {"FullProductName": [{"ProductID": "1", "Value": "Windows Server 2022"}]},
        "Vulnerability": [],
    }
    return {name: value for name, value in (content | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<html>maintenance</html>", "Invalid JSON"),
        (b"[]", "the answer: Input should be an object"),
        (b"{}", "DocumentTracking"),
        (json.dumps(document(ProductTree=None)).encode(), "ProductTree: Field required"),
        (json.dumps(document(Vulnerability=None)).encode(), "Vulnerability: Field required"),
        (json.dumps(document(Vulnerability=[{"Remediations": [{"ProductID": "1"}]}])).encode(), r"Vulnerability\.0\.Remediations\.0"),
        (json.dumps(document(DocumentTracking={"Identification": {"ID": {"Value": "2026-Jul"}}})).encode(), "it answers with 2026-Jul"),
        (json.dumps(document(DocumentTracking={"Identification": {"ID": {}}})).encode(), "a document without id"),
    ],
)
def test_a_malformed_month_names_what_is_wrong(served: MsrcFeed, server: Server, body: bytes, what: str) -> None:
    server.on("/api.msrc.microsoft.com/cvrf/v3.0/updates", Answer(json.dumps(LIST).encode()))
    server.on("/api.msrc.microsoft.com/cvrf/v3.0/cvrf/2026-Aug", Answer(body))
    with pytest.raises(FeedError, match=what) as caught:
        served.updates(["2026-08"])
    assert caught.value.where == f"{API}/cvrf/2026-Aug"


def test_a_list_without_months_is_malformed(served: MsrcFeed, server: Server) -> None:
    with pytest.raises(FeedError, match="there is no list of months"):
        served.months()
    server.on("/api.msrc.microsoft.com/cvrf/v3.0/updates", Answer(b'{"error": "gone"}'))
    with pytest.raises(FeedError, match="value: Field required"):
        served.months()


def test_a_listed_month_without_a_document_is_malformed(served: MsrcFeed, server: Server) -> None:
    server.on("/api.msrc.microsoft.com/cvrf/v3.0/updates", Answer(json.dumps(LIST).encode()))
    with pytest.raises(FeedError, match="there is no such document"):
        served.updates(["2026-08"])


def test_json_is_asked_for_without_a_key(served: MsrcFeed, server: Server) -> None:
    server.on("/api.msrc.microsoft.com/cvrf/v3.0/updates", Answer(json.dumps(LIST).encode()))
    assert served.months() == ("2026-08",)
    (asked,) = server.asked
    assert asked.headers["Accept"] == "application/json"
    assert not {name.lower() for name in asked.headers} & {"api-key", "authorization"}


def test_the_servers_wish_to_wait_is_heard(served: MsrcFeed, server: Server) -> None:
    answers = (Answer(status=429, headers={"Retry-After": "1"}), Answer(json.dumps(LIST).encode()))
    server.on("/api.msrc.microsoft.com/cvrf/v3.0/updates", *answers)
    assert served.months() == ("2026-08",)
    first, second = server.asked
    assert second.at - first.at >= 1


FIX = {"Type": 2, "Description": {"Value": "5120242"}, "ProductID": ["1"]}


def read(*remediations: dict[str, Any], products: dict[str, str] | None = None, **about: Any) -> list[FeedUpdate]:
    names = [{"ProductID": key, "Value": value} for key, value in (products or {"1": "Windows Server 2022"}).items()]
    vulnerability = {"CVE": "CVE-2026-1", "Remediations": list(remediations)} | about
    content = document(ProductTree={"FullProductName": names}, Vulnerability=[vulnerability])
    return list(updates_of(CvrfDocument.model_validate(content), date(2026, 8, 11)))


def test_all_but_kb_and_product_may_be_absent() -> None:
    (update,) = read(FIX)
    assert (update.kb, update.kind, update.fixed_build, update.released) == ("KB5120242", UpdateKind.OTHER, None, date(2026, 8, 11))
    assert (update.supersedes, update.restart_required) == ((), True)
    nothing: dict[str, Any] = dict.fromkeys(("Supercedence", "SubType", "FixedBuild", "RestartRequired"))
    assert read(FIX | nothing) == [update]
    assert (
        read({"Type": 2}, {"Type": 2, "Description": {}}, {"Type": 2, "Description": {"Value": "Release Notes"}, "ProductID": ["1"]}) == []
    )
    assert read(FIX | {"ProductID": ["9"]}) == read(FIX | {"Type": 5}) == read(FIX | {"Type": "Workaround"}) == []


@pytest.mark.parametrize(
    ("sub_type", "fixed_build", "product", "kind"),
    [
        ("Security Update", "10.0.20348.5499", "Windows Server 2022", UpdateKind.CUMULATIVE),
        ("Security Update", None, "Windows Server 2022", UpdateKind.CUMULATIVE),
        (None, "10.0.20348.5499", "Windows Server 2022", UpdateKind.CUMULATIVE),
        ("Security Hotpatch Update", "10.0.20348.5499", "Windows Server 2022", UpdateKind.HOTPATCH),
        ("Servicing Stack Update", None, "Windows Server 2022", UpdateKind.SERVICING_STACK),
        ("Monthly Rollup", None, "Windows Server 2022", UpdateKind.MONTHLY_ROLLUP),
        ("Security Only", None, "Windows Server 2022", UpdateKind.OTHER),
        ("Security Update", "4.8.4772.0", "Microsoft .NET Framework 3.5 AND 4.8 on Windows Server 2022", UpdateKind.DOTNET),
    ],
)
def test_the_kind_follows_from_what_the_feed_says(sub_type: str | None, fixed_build: str | None, product: str, kind: UpdateKind) -> None:
    (update,) = read(FIX | {"SubType": sub_type, "FixedBuild": fixed_build}, products={"1": product})
    assert update.kind is kind
    assert update.fixed_build == ("20348.5499" if (fixed_build or "").startswith("10.0") else None)


def test_a_known_checkpoint_is_recognized() -> None:
    (update,) = read(FIX | {"Description": {"Value": "5043080"}, "FixedBuild": "10.0.26100.1742"}, products={"1": "Windows Server 2025"})
    assert update.kind is UpdateKind.CHECKPOINT


def test_lines_of_one_kb_add_up_and_a_build_of_another_windows_does_not_count() -> None:
    products = {"1": "Windows Server 2019", "2": "Windows Server 2022"}
    first = FIX | {"FixedBuild": "10.0.17763.9012", "ProductID": ["1", "2"], "Supercedence": "5110001", "RestartRequired": {"Value": "No"}}
    second = FIX | {"FixedBuild": "10.0.20348.5499", "ProductID": ["2"], "Supercedence": "5110002", "RestartRequired": {"Value": "Maybe"}}
    older, newer = read(first, second, products=products)
    assert (older.fixed_build, older.restart_required) == ("17763.9012", False)
    assert (newer.fixed_build, newer.supersedes, newer.restart_required) == ("20348.5499", ("KB5110001", "KB5110002"), True)


@pytest.mark.parametrize("text", ["2026-08-11T07:00:00", "2026-08-11T07:00:00Z", "2026-08-11T09:00:00+02:00"])
def test_the_day_is_the_one_in_redmond_of_the_first_revision(text: str) -> None:
    history = [{"Number": "1.1", "Date": "2026-08-20T07:00:00"}, {"Number": "1.0", "Date": text}, {"Number": "0"}]
    (update,) = read(FIX, RevisionHistory=history)
    assert update.released == date(2026, 8, 11)
    (winter,) = read(FIX, RevisionHistory=[{"Date": "2026-01-13T08:00:00"}])
    assert winter.released == date(2026, 1, 13)
