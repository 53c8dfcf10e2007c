"""Basic and NTLM on a guest's listener, spoken by clients that nobody here wrote: pypsrp, pywinrm, requests."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any

import pytest
from pypsrp.exceptions import AuthenticationError
from pypsrp.shell import Process, SignalCode, WinRS
from pypsrp.wsman import WSMan
from winrm.protocol import Protocol

from infra.local.guest.wsman.authentication import Caller, Verdict
from infra.local.guest.wsman.negotiate import NegotiateAuthentication
from infra.local.machine.nt_hash import nt_hash
from tests.contract.wsman.conftest import ACCOUNT, OPTIONS, PASSWORD, POWERSHELL, Guest


def connect(guest: Guest, auth: str, *, account: str = ACCOUNT, password: str = PASSWORD) -> WSMan:
    # cert_validation also takes the path of the certificate to trust, which its type does not say.
    trusted: Any = str(guest.certificate)
    return WSMan("127.0.0.1", port=guest.port, username=account, password=password, auth=auth, cert_validation=trusted, no_proxy=True)


@pytest.mark.parametrize("auth", ["basic", "ntlm", "negotiate"])
def test_pypsrp_runs_signals_and_asks_for_the_envelope_size(guest: Guest, auth: str) -> None:
    guest.put("Test-Echo.ps1")
    guest.put("Test-Wait.ps1")
    with connect(guest, auth) as wsman:
        wsman.update_max_payload_size()
        assert wsman.max_envelope_size == 500 * 1024
        with WinRS(wsman, codepage=65001, environment={"A": "b"}, working_directory="C:\\", idle_time_out=600) as shell:
            process = Process(shell, POWERSHELL, [*OPTIONS, r"C:\winvhd\Test-Echo.ps1"])
            process.begin_invoke()
            process.send(b'{"a": 1}')
            process.end_invoke()
            assert process.rc == 0
            assert json.loads(process.stdout)["input"] == {"a": 1}
            waiting = Process(shell, POWERSHELL, [*OPTIONS, r"C:\winvhd\Test-Wait.ps1"])
            waiting.begin_invoke()
            waiting.send(b"{}")
            waiting.signal(SignalCode.CTRL_C)
            waiting.end_invoke()
            assert waiting.rc == 0xC000013A
            process.signal(SignalCode.TERMINATE)


@pytest.mark.parametrize("domain", ["", ".\\", "BUILD-VM\\"])
@pytest.mark.parametrize("auth", ["basic", "ntlm"])
def test_local_account_may_be_named_with_this_computer_as_its_domain(guest: Guest, auth: str, domain: str) -> None:
    with connect(guest, auth, account=f"{domain}{ACCOUNT}") as wsman:
        wsman.update_max_payload_size()


@pytest.mark.parametrize("auth", ["basic", "ntlm"])
@pytest.mark.parametrize("wrong", [{"password": "Wrong-1"}, {"account": "nobody"}, {"account": f"OTHER\\{ACCOUNT}"}])
def test_wrong_credentials_are_refused(guest: Guest, auth: str, wrong: dict[str, str]) -> None:
    with connect(guest, auth, **wrong) as wsman, pytest.raises(AuthenticationError, match="Failed to authenticate"):
        wsman.update_max_payload_size()


def test_pywinrm_speaks_ntlm_too(guest: Guest) -> None:
    guest.put("Test-Echo.ps1")
    client = Protocol(
        endpoint=guest.url,
        transport="ntlm",
        username=ACCOUNT,
        password=PASSWORD,
        server_cert_validation="validate",
        ca_trust_path=str(guest.certificate),
        message_encryption="never",
        proxy=None,
    )
    output, _, code = guest.run(client, "Test-Echo.ps1", {"text": "x"})
    assert (json.loads(output)["input"], code) == ({"text": "x"}, 0)
    client.transport.close_session()


def test_strangers_are_offered_both_schemes_and_a_connection_of_their_own(guest: Guest) -> None:
    with connect(guest, "ntlm") as wsman:
        wsman.update_max_payload_size()
        # What one connection proved is of no use to another one.
        stranger = http.client.HTTPSConnection("127.0.0.1", guest.port, context=ssl._create_unverified_context(), timeout=5)
        stranger.request("POST", "/wsman", b"<x/>", {"Content-Type": "application/soap+xml;charset=UTF-8"})
        answer = stranger.getresponse()
        assert answer.status == 401
        assert answer.headers.get_all("WWW-Authenticate") == ["Negotiate", 'Basic realm="WSMAN"']
        stranger.close()


@pytest.mark.parametrize("token", ["", "!", "TlRMTVNTUAA=", base64.b64encode(b"NTLMSSP\0" + bytes(4)).decode(), "YIIBhg==", "AAAA"])
def test_damaged_tokens_are_refused_and_the_next_exchange_is_not_hurt(token: str) -> None:
    scheme = NegotiateAuthentication(lambda: {ACCOUNT: nt_hash(PASSWORD)}, "GUEST")
    caller = Caller([scheme])
    assert caller.identify(f"Negotiate {token}") == Verdict()
    assert caller.challenges(Verdict()) == ("Negotiate",)
    assert caller.identify("") == Verdict()
    assert caller.identify("Digest x") == Verdict()
