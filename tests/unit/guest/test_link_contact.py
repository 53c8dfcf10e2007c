"""First contact: only a fresh answer with a certificate for the dialled address makes an endpoint."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from images.errors import CloudError, GuestLinkError
from infra.guest.contact import BUILD_ACCOUNT, first_contact, new_password
from infra.guest.endpoint import GuestEndpoint

ADDRESS = "10.1.2.3"


@dataclass(frozen=True)
class Output:
    output: str = ""
    error: str = ""
    exit_code: int | None = 0
    state: str = "Succeeded"


def certificate(address: str) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "guest")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName("guest.internal")])
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256())


CERTIFICATE = certificate(ADDRESS)


class Machine:
    """Answers Run Command; `spoil` changes the fields of the answers to come, one function for each."""

    def __init__(self, scripts: Path, *spoil: Callable[[dict[str, object]], Output]) -> None:
        self.calls: list[tuple[str, dict[str, str], dict[str, SecretStr]]] = []
        self._spoil = list(spoil)
        self._scripts = scripts

    def run(self, script: str, parameters: Mapping[str, str], protected: Mapping[str, SecretStr]) -> Output:
        self.calls.append((script, dict(parameters), dict(protected)))
        result: dict[str, object] = {
            "event": "result",
            "changed": True,
            "reboot_required": False,
            "certificate": base64.b64encode(CERTIFICATE.public_bytes(serialization.Encoding.DER)).decode(),
            "thumbprint": CERTIFICATE.fingerprint(hashes.SHA1()).hex().upper(),
            "port": int(parameters["port"]),
            "nonce": parameters["nonce"],
        }
        if self._spoil:
            return self._spoil.pop(0)(result)
        return good(result)

    def contact(self, attempts: int = 3, address: str = ADDRESS) -> GuestEndpoint:
        return first_contact(self.run, address, 5986, attempts=attempts, pause_s=0, scripts=self._scripts)


def good(result: dict[str, object]) -> Output:
    # The agent keeps the last 4,096 bytes: what is before the result line may be anything.
    return Output(output=f'nt","message":"cut"}}\nWARNING: chatter\n{json.dumps(result)}\n')


def with_field(**fields: object) -> Callable[[dict[str, object]], Output]:
    return lambda result: good({**result, **fields})


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    (tmp_path / "Enable-BuildRemoting.ps1").write_text("'first contact'\n", encoding="utf-8-sig")
    return tmp_path


def test_endpoint_holds_the_pinned_certificate_and_a_fresh_password(scripts: Path) -> None:
    machine = Machine(scripts)
    endpoint = machine.contact()
    assert endpoint.certificate == CERTIFICATE.public_bytes(serialization.Encoding.PEM).decode()
    assert endpoint.url == "https://10.1.2.3:5986/wsman"
    script, parameters, protected = machine.calls[0]
    assert script == "'first contact'\n"
    assert parameters == {"address": ADDRESS, "port": "5986", "account": BUILD_ACCOUNT, "nonce": parameters["nonce"]}
    assert protected == {"password": endpoint.password}
    assert len(parameters["nonce"]) >= 32
    assert endpoint.password.get_secret_value() not in repr(endpoint) + repr(machine.calls)


def test_host_name_in_the_certificate_is_as_good_as_an_address(scripts: Path) -> None:
    assert Machine(scripts).contact(address="guest.internal").address == "guest.internal"


def test_stale_answer_of_a_restored_disk_is_asked_again_with_another_password(scripts: Path) -> None:
    machine = Machine(scripts, with_field(nonce="an older one"))
    endpoint = machine.contact()
    first, second = machine.calls
    assert first[1]["nonce"] != second[1]["nonce"]
    assert first[2]["password"] != second[2]["password"] == endpoint.password


def test_answers_that_stay_stale_are_given_up_at_the_bound(scripts: Path) -> None:
    machine = Machine(scripts, *[with_field(nonce="an older one")] * 3)
    with pytest.raises(GuestLinkError, match="failed 3 times; at last: Run Command answered with the status of an older command"):
        machine.contact(attempts=3)
    assert len(machine.calls) == 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _result: Output(), "no result line"),
        (lambda _result: Output(state="TimedOut", exit_code=None), "ran out of time"),
        (lambda _result: Output(output="garbage", exit_code=0), "not JSON"),
        (
            lambda _result: Output(output='{"event":"error","code":"port-in-use","message":"port 5986 is taken"}', exit_code=1),
            "5986 is taken",
        ),
        (lambda _result: Output(error="New-LocalUser : denied", exit_code=1, state="Failed"), "exited with 1"),
        (with_field(port="5986"), "port"),
    ],
)
def test_failed_command_is_named_after_all_attempts(scripts: Path, spoil: Callable[[dict[str, object]], Output], message: str) -> None:
    machine = Machine(scripts, *[spoil] * 2)
    with pytest.raises(GuestLinkError, match=message):
        machine.contact(attempts=2)


def test_command_that_fails_once_is_asked_again(scripts: Path) -> None:
    assert Machine(scripts, lambda _result: Output(state="TimedOut", exit_code=None)).contact().port == 5986


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"thumbprint": "AB" * 20}, "not abab"),
        ({"certificate": "bm8gY2VydGlmaWNhdGU="}, "can not be read"),
        ({"certificate": "!"}, "can not be read"),
        (
            {
                "certificate": base64.b64encode((other := certificate("10.9.9.9")).public_bytes(serialization.Encoding.DER)).decode(),
                "thumbprint": other.fingerprint(hashes.SHA1()).hex(),
            },
            "not for the address",
        ),
    ],
)
def test_certificate_that_does_not_fit_is_not_pinned(scripts: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(GuestLinkError, match=message):
        Machine(scripts, with_field(**fields)).contact()


def test_password_does_not_get_out_of_a_failing_script(scripts: Path) -> None:
    machine = Machine(scripts)

    def leaky(script: str, parameters: Mapping[str, str], protected: Mapping[str, SecretStr]) -> Output:
        machine.calls.append((script, dict(parameters), dict(protected)))
        password = protected["password"].get_secret_value()
        return Output(output=f'{{"event":"error","code":"x","message":"{password}"}}', error=f"net user {password}", exit_code=1)

    with pytest.raises(GuestLinkError) as caught:
        first_contact(leaky, ADDRESS, 5986, attempts=1, scripts=scripts)
    said = f"{caught.value} {caught.value.__dict__} {caught.value.__cause__} {caught.value.__cause__.__dict__}"
    assert machine.calls[0][2]["password"].get_secret_value() not in said


def test_refusal_of_the_cloud_comes_through(scripts: Path) -> None:
    def refuses(*_arguments: object) -> Output:
        raise CloudError("no such VM")

    with pytest.raises(CloudError):
        first_contact(refuses, ADDRESS, 5986, scripts=scripts)


def test_passwords_differ_and_hold_what_windows_asks_for() -> None:
    passwords = {new_password() for _ in range(50)}
    assert len(passwords) == 50
    for password in passwords:
        assert password.isalnum()
        assert password != password.lower()
        assert password != password.upper()
        assert any(character.isdigit() for character in password)
