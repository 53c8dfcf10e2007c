"""pywinrm's protocol, with exactly one certificate trusted, larger answers, a short connect timeout, and a meter."""

from __future__ import annotations

from typing import Any

import requests
import requests.adapters
from winrm.exceptions import WinRMTransportError
from winrm.protocol import Protocol
from winrm.transport import Transport

from infra.guest.endpoint import GuestEndpoint
from infra.guest.limits import LinkLimits
from infra.guest.traffic import TrafficMeter

MAX_ENVELOPE_BYTES = 500 * 1024
"""MaxEnvelopeSizekb of a Windows Server as installed (`winrm get winrm/config`)."""


class _Adapter(requests.adapters.HTTPAdapter):
    """Bounds connecting more tightly than answering: a machine that is off drops packets instead of refusing."""

    def __init__(self, connect_s: float) -> None:
        self._connect_s = connect_s
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        answer_s = kwargs.get("timeout")
        if isinstance(answer_s, int | float):
            kwargs["timeout"] = (min(self._connect_s, answer_s), answer_s)
        return super().send(request, *args, **kwargs)


class _Transport(Transport):
    """Counts what goes over the wire, faults included, and brings its own adapter."""

    meter: TrafficMeter
    connect_s: float

    def build_session(self) -> requests.Session:
        fresh = self.session is None
        session = super().build_session()
        if fresh:
            session.mount("https://", _Adapter(self.connect_s))
        return session

    def send_message(self, message: str | bytes) -> bytes:
        data = message.encode("utf-8") if isinstance(message, str) else message
        self.meter.request(len(data))
        try:
            answer = super().send_message(data)
        except WinRMTransportError as error:
            self.meter.answer(len(error.response_text))
            raise
        self.meter.answer(len(answer))
        return answer


class GuestProtocol(Protocol):
    """WS-Management with one guest: Basic over HTTPS, no proxy whatever the environment says."""

    def __init__(self, endpoint: GuestEndpoint, certificate_path: str, limits: LinkLimits, meter: TrafficMeter) -> None:
        options: dict[str, Any] = {
            "endpoint": endpoint.url,
            "username": endpoint.account,
            "password": endpoint.password.get_secret_value(),
            "server_cert_validation": "validate",
            "proxy": None,
            "read_timeout_sec": max(limits.answer_s, limits.operation_s + 1),
            # An explicit path takes the place of REQUESTS_CA_BUNDLE and of the system's authorities.
            "ca_trust_path": certificate_path,
        }
        super().__init__(transport="basic", operation_timeout_sec=limits.operation_s, **options)
        transport = _Transport(auth_method="basic", **options)
        transport.meter, transport.connect_s = meter, limits.connect_s
        self.transport = transport

    def build_wsman_header(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """pywinrm's header, but with the envelope size that Windows allows instead of 150 kB: fewer answers carry more output."""
        header = super().build_wsman_header(*args, **kwargs)
        header["env:Header"]["w:MaxEnvelopeSize"]["#text"] = str(MAX_ENVELOPE_BYTES)
        return header
