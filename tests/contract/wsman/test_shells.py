"""Real pywinrm and pypsrp against a guest's WinRM listener."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import uuid

import pytest
import requests
from winrm.exceptions import InvalidCredentialsError, WinRMError, WinRMOperationTimeoutError, WSManFaultError
from winrm.protocol import Protocol

from infra.local.guest.remoting import _self_signed
from infra.local.guest.wsman import faults
from tests.contract.wsman.conftest import ACCOUNT, OPTIONS, PASSWORD, POWERSHELL, Guest, rule, wait_for


def wait_command(guest: Guest, client: Protocol, script: str, stage_input: object) -> tuple[str, str]:
    shell = client.open_shell(codepage=65001)
    command = client.run_command(shell, POWERSHELL, (*OPTIONS, rf"C:\winvhd\{script}"))
    client.send_command_input(shell, command, json.dumps(stage_input).encode(), end=True)
    return shell, command


def test_script_gets_its_input_and_answers_on_both_streams(guest: Guest) -> None:
    guest.put("Test-Echo.ps1")
    out, err, code = guest.run(guest.client(), "Test-Echo.ps1", {"text": "Grüße, 世界"})
    assert json.loads(out) == {"event": "result", "input": {"text": "Grüße, 世界"}, "elevated": False}
    assert (err, code) == (b"warning: echo\n", 0)


def test_input_may_come_in_pieces(guest: Guest) -> None:
    guest.put("Test-Echo.ps1")
    client = guest.client()
    shell = client.open_shell(codepage=65001)
    command = client.run_command(shell, POWERSHELL, (*OPTIONS, r"C:\winvhd\Test-Echo.ps1"))
    document = json.dumps({"text": "a" * 600_000}).encode()
    for start in range(0, len(document), 300_000):
        piece = document[start : start + 300_000]
        client.send_command_input(shell, command, piece, end=start + 300_000 >= len(document))
    out, _, code = client.get_command_output(shell, command)
    assert code == 0
    assert len(json.loads(out)["input"]["text"]) == 600_000
    with pytest.raises(WSManFaultError) as caught:
        client.send_command_input(shell, command, b"more", end=True)
    assert caught.value.wsman_fault_code == faults.BROKEN_PIPE


def test_large_output_arrives_whole_in_envelopes_of_the_size_asked_for(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    guest.put("Test-Flood.ps1")
    client = guest.client()
    sizes: list[int] = []
    send = client.send_message

    def measured(message: str) -> bytes:
        answer = send(message)
        sizes.append(len(answer))
        return answer

    monkeypatch.setattr(client, "send_message", measured)
    out, err, code = guest.run(client, "Test-Flood.ps1", {"lines": 30_000})
    assert code == 0
    assert out.count(b"\n") == 30_000
    assert out.endswith(b"00029999 " + b"x" * 90 + b"\n")
    assert err.count(b"chatter") == 300
    assert max(sizes) <= 153_600


def test_receive_without_output_times_out_and_can_be_asked_again(guest: Guest) -> None:
    guest.put("Test-Wait.ps1")
    client = guest.client(operation_timeout_s=1)
    shell, command = wait_command(guest, client, "Test-Wait.ps1", {"seconds": 2})
    out, _, _, done = client.get_command_output_raw(shell, command)
    assert b"waiting" in out
    assert not done
    started = time.monotonic()
    with pytest.raises(WinRMOperationTimeoutError):
        client.get_command_output_raw(shell, command)
    assert 0.8 < time.monotonic() - started < 3
    out, _, code = client.get_command_output(shell, command)
    assert b'"result"' in out
    assert code == 0
    client.close_shell(shell)


def test_calls_cost_no_delayed_acknowledgement(guest: Guest) -> None:
    client = guest.client()
    shells = [client.open_shell(codepage=65001)]
    started = time.monotonic()
    shells += [client.open_shell(codepage=65001) for _ in range(20)]
    assert (time.monotonic() - started) / 20 < 0.03
    for shell in shells:
        client.close_shell(shell, close_session=False)
    client.transport.close_session()


def test_wrong_password_is_401_with_a_challenge(guest: Guest) -> None:
    with pytest.raises(InvalidCredentialsError):
        guest.client("wrong").open_shell()
    answer = requests.post(guest.url, data=b"", verify=str(guest.certificate), timeout=5)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Negotiate, Basic realm="WSMAN"'


def test_another_certificate_is_refused(guest: Guest) -> None:
    der, _ = _self_signed("127.0.0.1", "somebody")
    guest.certificate.write_text(ssl.DER_cert_to_PEM_cert(der))
    with pytest.raises(requests.exceptions.SSLError):
        guest.client().open_shell()


def test_unknown_shell_and_unknown_command_are_invalid_selectors(guest: Guest) -> None:
    client = guest.client()
    with pytest.raises(WSManFaultError) as caught:
        client.run_command(str(uuid.uuid4()), "hostname")
    assert caught.value.wsman_fault_code == faults.SHELL_NOT_FOUND
    assert caught.value.fault_subcode == "w:InvalidSelectors"
    assert caught.value.code == 500
    shell = client.open_shell(codepage=65001)
    with pytest.raises(WSManFaultError) as caught:
        client.get_command_output_raw(shell, str(uuid.uuid4()))
    assert caught.value.wsman_fault_code == faults.SHELL_NOT_FOUND
    client.close_shell(shell)
    with pytest.raises(WSManFaultError):
        client.close_shell(shell)


def test_too_many_shells_is_a_quota_fault(guest: Guest) -> None:
    client = guest.client()
    shells = [client.open_shell(codepage=65001) for _ in range(30)]
    with pytest.raises(WSManFaultError) as caught:
        client.open_shell(codepage=65001)
    assert caught.value.wsman_fault_code == faults.QUOTA_MAX_SHELLS
    client.close_shell(shells[0], close_session=False)
    client.open_shell(codepage=65001)
    client.transport.close_session()


def test_envelope_over_the_limit_is_refused(guest: Guest) -> None:
    guest.put("Test-Echo.ps1")
    client = guest.client()
    shell = client.open_shell(codepage=65001)
    command = client.run_command(shell, POWERSHELL, (*OPTIONS, r"C:\winvhd\Test-Echo.ps1"))
    with pytest.raises(WSManFaultError) as caught:
        client.send_command_input(shell, command, b"x" * 500_000, end=True)
    assert caught.value.code == 413
    assert caught.value.fault_subcode == "w:EncodingLimit"
    client.close_shell(shell)


@pytest.mark.parametrize(
    "document",
    [
        b"not xml",
        b"<a/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>&b;</s:Body></s:Envelope>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
    ],
)
def test_malformed_or_dangerous_xml_is_a_fault(guest: Guest, document: bytes) -> None:
    answer = requests.post(
        guest.url,
        data=document,
        headers={"Content-Type": "application/soap+xml;charset=UTF-8"},
        auth=(ACCOUNT, PASSWORD),
        verify=str(guest.certificate),
        timeout=5,
    )
    assert answer.status_code == 500
    assert f'Code="{faults.INVALID_XML}"' in answer.text


def test_identify_tells_strangers_no_version(guest: Guest) -> None:
    body = (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body>'
        '<i:Identify xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"/></s:Body></s:Envelope>'
    )

    def identify(account: tuple[str, str] | None, **headers: str) -> requests.Response:
        headers["Content-Type"] = "application/soap+xml;charset=UTF-8"
        return requests.post(guest.url, data=body, headers=headers, auth=account, verify=str(guest.certificate), timeout=5)

    stranger, known = identify(None, WSMANIDENTIFY="unauthenticated"), identify((ACCOUNT, PASSWORD))
    assert (stranger.status_code, known.status_code) == (200, 200)
    assert "OS: 0.0.0" in stranger.text
    assert "OS: 10.0.20348" in known.text


def test_other_programs_are_not_recognized(guest: Guest) -> None:
    client = guest.client()
    shell = client.open_shell(codepage=65001)
    for line, text in (
        (("ipconfig", ("/all",)), b"not recognized"),
        ((POWERSHELL, ("-Command", "Get-Date")), b"-File or -EncodedCommand only"),
        ((POWERSHELL, ("-EncodedCommand", "!!!")), b"not properly encoded"),
        ((POWERSHELL, ("-EncodedCommand", "A" * 9000)), b"command line is too long"),
    ):
        out, err, code = client.get_command_output(shell, client.run_command(shell, *line))
        assert (out, code) == (b"", 1)
        assert text in err
    missing = client.run_command(shell, POWERSHELL, (*OPTIONS, r"C:\winvhd\Nothing.ps1"))
    out, err, code = client.get_command_output(shell, missing)
    assert (out, code) == (b"", 0xFFFD0000)
    assert b"does not exist" in err
    client.close_shell(shell)


def test_deleting_a_shell_kills_what_runs_in_it(guest: Guest) -> None:
    guest.put("Test-Wait.ps1")
    client = guest.client()
    shell, _ = wait_command(guest, client, "Test-Wait.ps1", {"seconds": 60})
    wait_for(guest.engine.started.is_set)
    client.close_shell(shell)
    assert guest.engine.contexts[0].stop_event.is_set()


def test_idle_shell_goes_away(guest: Guest) -> None:
    client = guest.client()
    shell = client.open_shell(codepage=65001, idle_timeout="PT0.05S")
    time.sleep(0.1)
    with pytest.raises(WSManFaultError) as caught:
        client.run_command(shell, "hostname")
    assert caught.value.wsman_fault_code == faults.SHELL_NOT_FOUND
    client.transport.close_session()


def test_dropped_connection_loses_no_output(guest: Guest) -> None:
    guest.put("Test-Flood.ps1")
    guest.fail(rule("guest.winrm-drop", skip=1))
    client = guest.client()
    shell, command = wait_command(guest, client, "Test-Flood.ps1", {"lines": 5000})
    out, done = b"", False
    drops = 0
    while not done:
        try:
            piece, _, code, done = client.get_command_output_raw(shell, command)
            out += piece
        except (requests.exceptions.ConnectionError, WinRMError):
            drops += 1
    assert (drops, code) == (1, 0)
    assert out.count(b"\n") == 5000
    client.close_shell(shell)


def test_other_paths_and_methods_do_not_exist(guest: Guest) -> None:
    context = ssl.create_default_context(cafile=str(guest.certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", guest.port, context=context, timeout=5)
    try:
        for method, path, status in (("GET", "/wsman", 405), ("POST", "/other", 404), ("GET", "/", 404)):
            connection.request(method, path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
    finally:
        connection.close()
