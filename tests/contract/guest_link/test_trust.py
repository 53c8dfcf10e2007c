"""The link trusts exactly one certificate, whatever the environment says."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from infra.guest.faults import LinkRefusedError
from infra.guest.link import GuestLink
from infra.guest.package import ScriptPackage
from tests.contract.guest_link.build_guest import HURRIED
from tests.contract.guest_link.scripted_guest import ScriptedGuest, identity


def test_other_certificate_is_refused_before_a_password_is_sent(guest: ScriptedGuest, package: ScriptPackage) -> None:
    endpoint = guest.endpoint.model_copy(update={"certificate": identity().certificate})
    with GuestLink(endpoint, package=package) as link, pytest.raises(LinkRefusedError, match="certificate that first contact pinned"):
        link.state()
    assert guest.requests == []


def test_certificate_for_another_address_is_refused(guest: ScriptedGuest, package: ScriptPackage) -> None:
    guest.down()
    guest.identity = identity("10.1.2.3")
    guest.up()
    with GuestLink(guest.endpoint, package=package) as link, pytest.raises(LinkRefusedError, match=r"127\.0\.0\.1"):
        link.state()
    assert guest.requests == []


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_bundle_from_the_environment_neither_adds_nor_removes_trust(
    variable: str, guest: ScriptedGuest, package: ScriptPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    monkeypatch.setenv(variable, str(bundle))
    stranger = identity()
    bundle.write_text(stranger.certificate)
    with GuestLink(guest.endpoint, package=package) as link:
        assert link.state().computer_name == "GUEST"
    # Now the bundle vouches for what answers, and the pinned certificate is another one.
    bundle.write_text(guest.identity.certificate)
    endpoint = guest.endpoint.model_copy(update={"certificate": stranger.certificate})
    with GuestLink(endpoint, package=package) as link, pytest.raises(LinkRefusedError, match="pinned"):
        link.state()


def test_proxy_from_the_environment_is_not_used(guest: ScriptedGuest, package: ScriptPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with GuestLink(guest.endpoint, package=package) as link:
        assert link.state().computer_name == "GUEST"


def test_password_and_certificate_file_are_gone_after_closing(guest: ScriptedGuest, package: ScriptPackage) -> None:
    link = GuestLink(guest.endpoint, package=package)
    folder = Path(link._connection._folder.name)
    assert [path.name for path in folder.iterdir()] == ["guest.pem"]
    link.close()
    assert not folder.exists()
    assert "Correct-Horse" not in repr(link.endpoint) + str(link.endpoint)


@pytest.mark.parametrize("hours", [-20, 20])
def test_guest_whose_clock_is_hours_off_is_trusted(guest: ScriptedGuest, package: ScriptPackage, hours: int) -> None:
    guest.down()
    guest.identity = identity(ahead=datetime.timedelta(hours=hours))
    guest.up()
    with GuestLink(guest.endpoint, limits=HURRIED, package=package) as link:
        assert link.state().computer_name == "GUEST"
