"""A signature holds for one payload, one type and one key, and nothing of a private key gets into a text."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat

from images.errors import ConfigurationError, VerificationError
from infra.signing.configured import KEY_BLOCK, KEY_FILE, public_key, signing_key
from infra.signing.envelope import pre_authentication_encoding, seal, unseal
from infra.signing.keys import SigningKey, VerificationKey

TYPE = "application/vnd.in-toto+json"
KINDS: dict[str, Callable[[], Any]] = {"ed25519": Ed25519PrivateKey.generate, "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1())}
WRONG_KINDS: dict[str, Callable[[], Any]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


def _pem(key: Any, passphrase: bytes = b"") -> bytes:
    hiding = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hiding))


def _public_pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.fixture(params=KINDS)
def key(request: pytest.FixtureRequest) -> SigningKey:
    return SigningKey.from_pem(_pem(KINDS[request.param]()), where="test")


def test_encoding_is_that_of_the_specification() -> None:
    # The test vector of protocol.md.
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    # Lengths count bytes, not characters.
    assert pre_authentication_encoding("ä", "ö".encode()) == "DSSEv1 2 ä 2 ö".encode()


def test_sealed_payload_comes_back_for_the_right_key(key: SigningKey) -> None:
    sealed = seal(b'{"a": 1}', TYPE, key)
    assert unseal(sealed.encode(), TYPE, key.public) == b'{"a": 1}'
    (signature,) = json.loads(sealed)["signatures"]
    assert signature["keyid"] == key.public.key_id


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
@pytest.mark.parametrize("kind", KINDS)
def test_openssl_accepts_the_signature(kind: str, tmp_path: Path) -> None:
    raw = KINDS[kind]()
    sealed = json.loads(seal(b"payload", TYPE, SigningKey.from_pem(_pem(raw), where="test")))
    (tmp_path / "key.pem").write_bytes(_public_pem(raw))
    (tmp_path / "content").write_bytes(pre_authentication_encoding(TYPE, b"payload"))
    (tmp_path / "signature").write_bytes(base64.b64decode(sealed["signatures"][0]["sig"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "content", "-sigfile", "signature"]
    digest = [] if kind == "ed25519" else ["-digest", "sha256"]
    done = subprocess.run([*command, *digest], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("change", ["payload", "payloadType", "signatures", "another key"])
def test_anything_changed_is_refused(key: SigningKey, change: str) -> None:
    sealed = json.loads(seal(b"payload", TYPE, key))
    verifying = key.public
    if change == "payload":
        sealed["payload"] = base64.b64encode(b"other").decode()
    elif change == "payloadType":
        sealed["payloadType"] = "application/json"
    elif change == "signatures":
        sealed["signatures"] = []
    else:
        verifying = SigningKey.from_pem(_pem(Ed25519PrivateKey.generate()), where="test").public
    with pytest.raises(VerificationError):
        unseal(json.dumps(sealed).encode(), TYPE, verifying)


def test_one_good_signature_among_others_is_enough_and_key_ids_are_not_trusted(key: SigningKey) -> None:
    sealed = json.loads(seal(b"payload", TYPE, key))
    foreign = json.loads(seal(b"payload", TYPE, SigningKey.from_pem(_pem(Ed25519PrivateKey.generate()), where="test")))
    foreign["signatures"][0]["keyid"] = key.public.key_id
    del sealed["signatures"][0]["keyid"]
    sealed["signatures"] = foreign["signatures"] + sealed["signatures"]
    assert unseal(json.dumps(sealed).encode(), TYPE, key.public) == b"payload"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"payload": "?", "payloadType": "t", "signatures": []}',
        '{"payload": "ä", "payloadType": "t", "signatures": []}'.encode(),
    ],
)
def test_what_is_no_envelope_is_refused(content: bytes) -> None:
    key = SigningKey.from_pem(_pem(Ed25519PrivateKey.generate()), where="test")
    with pytest.raises(VerificationError, match="DSSE"):
        unseal(content, TYPE, key.public)


@pytest.mark.parametrize("kind", WRONG_KINDS)
def test_keys_of_other_kinds_are_refused(kind: str) -> None:
    raw = WRONG_KINDS[kind]()
    with pytest.raises(ConfigurationError, match="neither Ed25519 nor"):
        SigningKey.from_pem(_pem(raw), where="here")
    with pytest.raises(ConfigurationError, match="neither Ed25519 nor"):
        VerificationKey.from_pem(_public_pem(raw), where="here")


def test_a_private_key_never_shows_in_an_error_or_a_text() -> None:
    pem = _pem(Ed25519PrivateKey.generate())
    body = pem.decode().splitlines()[1]
    for wrong in (pem.replace(b"BEGIN PRIVATE", b"BEGIN PUBLIC"), pem[:-30], body.encode()):
        with pytest.raises(ConfigurationError) as caught:
            SigningKey.from_pem(wrong, where="here")
        assert body[:20] not in f"{caught.value} {caught.value.__cause__} {caught.value.hint}"
    assert body[:20] not in repr(vars(SigningKey.from_pem(pem, where="here")))


def test_a_key_with_a_passphrase_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="passphrase"):
        SigningKey.from_pem(_pem(Ed25519PrivateKey.generate(), b"secret"), where="here")


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_variables(**values: str) -> None:
        for name in (KEY_FILE, KEY_BLOCK):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_variables


def test_builder_signs_with_the_key_that_the_environment_names(configure: Callable[..., None], tmp_path: Path) -> None:
    raw = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(_pem(raw))
    (tmp_path / "key.pub.pem").write_bytes(_public_pem(raw))
    configure(WINVHD_SIGNING_KEY_FILE=str(tmp_path / "key.pem"))
    key = signing_key()
    assert key is not None
    assert key.public.key_id == public_key(tmp_path / "key.pub.pem").key_id
    configure()
    assert signing_key() is None


def test_what_is_configured_wrongly_stops_before_the_build(configure: Callable[..., None], tmp_path: Path) -> None:
    configure(WINVHD_SIGNING_KEY_FILE=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigurationError, match=r"none\.pem: No such file"):
        signing_key()
    configure(WINVHD_SIGNING_KEY_FILE="a", WINVHD_SIGNING_BLOCK="b")
    with pytest.raises(ConfigurationError, match="both"):
        signing_key()
