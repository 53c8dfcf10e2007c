import hashlib
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest

from infra.local.faults import Fault, FaultPlan, FaultRule, Faults
from infra.local.origin.request_log import read_requests
from infra.local.origin.server import create_app
from infra.local.pretended_date import PretendedDate
from tests.unit.local.origin.serving import serve

KUBERNETES = "packages.aks.azure.com/kubernetes/v1.31.14/windowszip/v1.31.14-1int.zip"
SERVER_CORE = "mcr.microsoft.com/v2/windows/servercore/manifests"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    with serve(create_app(tmp_path)) as base, httpx.Client(base_url=base, trust_env=False) as opened:
        yield opened


def _serve_with(tmp_path: Path, code: str) -> Faults:
    return Faults(FaultPlan(rules=(FaultRule(point="origin.fetch", fault=Fault(code=code, status=503)),)))


def test_a_url_gives_the_same_bytes_in_every_state_folder(tmp_path: Path, client: httpx.Client) -> None:
    first = client.get(KUBERNETES).content
    with serve(create_app(tmp_path / "other")) as base:
        assert httpx.get(f"{base}/{KUBERNETES}").content == first
    assert client.get(KUBERNETES.replace("31.14", "31.13")).content != first


def test_head_etag_and_range_follow_http(client: httpx.Client) -> None:
    whole = client.get(KUBERNETES)
    head = client.head(KUBERNETES)
    assert int(head.headers["content-length"]) == len(whole.content)
    assert head.headers["etag"] == whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'
    part = client.get(KUBERNETES, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert client.get(KUBERNETES, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416
    assert client.get(KUBERNETES, headers={"If-None-Match": head.headers["etag"]}).status_code == 304


def test_hosts_that_do_not_resolve_and_missing_files_are_refused(client: httpx.Client) -> None:
    assert client.get("nowhere.invalid/file.zip").status_code == 502
    assert client.get("example.com/does-not-exist.zip").status_code == 404


def test_the_log_tells_who_fetched_what(tmp_path: Path, client: httpx.Client) -> None:
    body = client.get(f"{KUBERNETES}?a=b", headers={"User-Agent": "winvhd-guest/vm1"}).content
    client.head(KUBERNETES)
    records = read_requests(tmp_path)
    assert [(record.method, record.url, record.status, record.bytes) for record in records] == [
        ("GET", f"https://{KUBERNETES}?a=b", 200, len(body)),
        ("HEAD", f"https://{KUBERNETES}", 200, 0),
    ]
    assert records[0].client == "winvhd-guest/vm1"
    shown = [json.loads(line) for line in client.get(".requests").text.splitlines()]
    assert shown == [record.model_dump() for record in records]


def test_ltsc_tag_shares_the_digest_of_the_newest_build(client: httpx.Client) -> None:
    digests = {tag: client.head(f"{SERVER_CORE}/{tag}").headers["docker-content-digest"] for tag in ("ltsc2022", "10.0.20348.5868")}
    assert len(set(digests.values())) == 1
    assert client.head(f"{SERVER_CORE}/10.0.20348.5499").headers["docker-content-digest"] not in digests.values()


def test_a_repository_keeps_what_its_tags_held_and_has_nothing_of_others(tmp_path: Path) -> None:
    today = PretendedDate(date(2026, 7, 20))
    with serve(create_app(tmp_path, today=today)) as base, httpx.Client(base_url=base, trust_env=False) as client:
        july = client.get(f"{SERVER_CORE}/ltsc2022")
        digest = july.headers["docker-content-digest"]
        today.pretend(date(2026, 8, 20))
        assert client.head(f"{SERVER_CORE}/ltsc2022").headers["docker-content-digest"] != digest
        assert client.get(f"{SERVER_CORE}/{digest}").content == july.content
        elsewhere = client.get(f"{SERVER_CORE.replace('servercore', 'nanoserver')}/{digest}")
        assert (elsewhere.status_code, elsewhere.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
        layer = client.get(f"{SERVER_CORE}/{july.json()['manifests'][0]['digest']}").json()["layers"][0]["digest"]
        blobs = SERVER_CORE.replace("manifests", "blobs")
        assert client.get(f"{blobs}/{layer}").status_code == 200
        assert client.get(f"{blobs.replace('servercore', 'nanoserver')}/{layer}").json()["errors"][0]["code"] == "BLOB_UNKNOWN"


def test_everything_behind_a_tag_can_be_fetched_and_has_its_digest(client: httpx.Client) -> None:
    tag = client.get("mcr.microsoft.com/v2/oss/v2/kubernetes/pause/manifests/3.10.2")
    assert tag.headers["content-type"] == "application/vnd.oci.image.index.v1+json"
    index = tag.json()
    builds = {entry["platform"].get("os.version", "").rpartition(".")[0] for entry in index["manifests"]}
    assert builds == {"", "10.0.17763", "10.0.20348", "10.0.26100"}
    for entry in index["manifests"]:
        manifest = client.get(f"mcr.microsoft.com/v2/oss/v2/kubernetes/pause/manifests/{entry['digest']}")
        assert f"sha256:{hashlib.sha256(manifest.content).hexdigest()}" == entry["digest"]
        for part in (manifest.json()["config"], *manifest.json()["layers"]):
            blob = client.get(f"mcr.microsoft.com/v2/oss/v2/kubernetes/pause/blobs/{part['digest']}")
            assert (f"sha256:{hashlib.sha256(blob.content).hexdigest()}", len(blob.content)) == (part["digest"], part["size"])


def test_an_oci_artifact_has_titled_layers(client: httpx.Client) -> None:
    manifest = client.get("mcr.microsoft.com/v2/wcn/package/manifests/1.7.1-amd64").json()
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in manifest["layers"]]
    assert titles == ["package-1.7.1-amd64.zip", "package-1.7.1-amd64.json"]


def test_unknown_images_and_routes_are_registry_errors(client: httpx.Client) -> None:
    missing = client.get(f"{SERVER_CORE}/ltsc1999")
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    assert client.get(f"mcr.microsoft.com/v2/a/blobs/sha256:{'0' * 64}").status_code == 404
    listing = client.get("mcr.microsoft.com/v2/windows/servercore/tags/list")
    assert listing.status_code == 501
    assert "tags/list" in listing.json()["errors"][0]["message"]


@pytest.mark.parametrize(("code", "status", "right"), [("corrupt", 200, False), ("truncated", 200, False), ("unreachable", 502, False)])
def test_a_fault_strikes_once_and_then_the_bytes_are_right(tmp_path: Path, code: str, status: int, right: bool) -> None:
    with serve(create_app(tmp_path, _serve_with(tmp_path, code))) as base:
        first = httpx.get(f"{base}/{KUBERNETES}")
        second = httpx.get(f"{base}/{KUBERNETES}")
    assert first.status_code == status
    assert (first.content == second.content) is right
    assert second.headers["etag"] == f'"{hashlib.sha256(second.content).hexdigest()}"'


def test_any_other_fault_answers_with_its_status(tmp_path: Path) -> None:
    with serve(create_app(tmp_path, _serve_with(tmp_path, "ServiceUnavailable"))) as base:
        assert httpx.get(f"{base}/{KUBERNETES}").status_code == 503
