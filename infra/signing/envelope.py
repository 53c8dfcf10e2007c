"""DSSE envelopes: https://github.com/secure-systems-lab/dsse, protocol.md and envelope.md (version 1.0.2)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from images.errors import VerificationError
from infra.signing.keys import SigningKey, VerificationKey

_URL_SAFE: Final = str.maketrans("-_", "+/")


class _Signature(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    sig: str


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    payload: str
    payloadType: str
    signatures: tuple[_Signature, ...]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed: the payload together with its type, so that a signature of one type is none of another.

    >>> pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b" ".join((b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload))


def seal(payload: bytes, payload_type: str, key: SigningKey) -> str:
    """The envelope with a payload and one signature, as JSON."""
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": key.public.key_id, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(envelope, indent=2) + "\n"


def unseal(envelope: bytes, payload_type: str, key: VerificationKey) -> bytes:
    """The payload of an envelope that the key signed; raises VerificationError for any other.

    Key ids are hints that nobody signed: every signature is tried.
    """
    try:
        read = _Envelope.model_validate_json(envelope)
        payload = _decoded(read.payload)
        signatures = [_decoded(signature.sig) for signature in read.signatures]
    except (ValidationError, binascii.Error, UnicodeEncodeError):
        raise VerificationError("the signature is not in a DSSE envelope", hint="get provenance.dsse.json from the build again") from None
    if read.payloadType != payload_type:
        raise VerificationError(
            f"the signature is of {read.payloadType!r}, not of {payload_type!r}", hint="give the provenance.dsse.json of a build"
        )
    content = pre_authentication_encoding(payload_type, payload)
    if not any(key.accepts(signature, content) for signature in signatures):
        raise VerificationError(
            f"no signature is of the key {key.key_id[:16]}…", hint="the provenance was changed, or another key signed it"
        )
    return payload


def _decoded(text: str) -> bytes:
    # The specification has readers take both alphabets of base64.
    return base64.b64decode(text.translate(_URL_SAFE).encode("ascii"), validate=True)
