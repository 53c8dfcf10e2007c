"""The HTTPS listener of one guest: HTTP/1.1 with keep-alive over TLS, on 127.0.0.1 only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import h11

from infra.local.guest.wsman import faults, soap
from infra.local.guest.wsman.authentication import Authentication, authenticate
from infra.local.guest.wsman.service import Answer, WinRmService

LOG = logging.getLogger(__name__)

READ_BYTES = 65536
IDLE_CONNECTION_S = 120.0
"""HTTP.sys closes a connection that is silent for two minutes."""
HANDSHAKE_S = 15.0
IDLE_SHELL_CHECK_S = 30.0
SOAP_TYPE = "application/soap+xml;charset=UTF-8"
PATH = "/wsman"


@dataclass(frozen=True)
class _Incoming:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    """None when it was larger than the service allows."""


@dataclass(frozen=True)
class _Outgoing:
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    answer: Answer | None = None
    close: bool = False


class WsmanListener:
    """Serves one guest's WinRM; made and closed in the network loop."""

    def __init__(self, service: WinRmService, schemes: Sequence[Authentication], drop: Callable[[soap.Request], bool]) -> None:
        self._service = service
        self._schemes = schemes
        self._drop = drop
        """Asked for each request: True closes the connection without an answer."""
        self._server: asyncio.Server | None = None
        self._context: ssl.SSLContext | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._checks: asyncio.Task[None] | None = None

    async def open(self, port: int, context: ssl.SSLContext) -> None:
        """Listen on 127.0.0.1:port; raises OSError when the port is taken."""
        # asyncio sets TCP_NODELAY on every connection; without it each call would cost a delayed acknowledgement of 40 ms.
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=READ_BYTES)
        self._context = context
        self._checks = asyncio.create_task(self._delete_idle_shells())

    async def close(self) -> None:
        """Stop listening, cut every connection, delete every shell."""
        # A connection that was accepted just now finds no context and ends.
        self._context = None
        if self._server is not None:
            self._server.close()
        self._service.shells.delete_all()
        tasks = [*self._connections, *([self._checks] if self._checks else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _delete_idle_shells(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SHELL_CHECK_S)
            self._service.shells.delete_idle()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._context is None:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._converse(reader, writer, self._context))
        self._connections.add(task)

        def ended(_task: asyncio.Task[None]) -> None:
            self._connections.discard(task)
            # A close handshake would wait for a peer that may be gone; this also reaches a task that was cancelled before it began.
            writer.transport.abort()

        task.add_done_callback(ended)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        try:
            # Here rather than in start_server, so that `close` reaches a connection whose handshake is not done.
            async with asyncio.timeout(HANDSHAKE_S):
                await writer.start_tls(context)
            await self._serve(reader, writer)
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            LOG.debug("WinRM connection ended: %s", error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            incoming = await self._next_request(connection, reader, writer)
            if incoming is None:
                return
            outgoing = await self._respond(incoming)
            if outgoing is None:
                return
            try:
                await self._write(connection, writer, outgoing)
            except OSError:
                if outgoing.answer:
                    outgoing.answer.undo()
                raise
            if outgoing.close or connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                await _finish(writer)
                return
            connection.start_next_cycle()

    async def _next_request(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> _Incoming | None:
        request: h11.Request | None = None
        body, too_large = bytearray(), False
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                async with asyncio.timeout(IDLE_CONNECTION_S):
                    connection.receive_data(await reader.read(READ_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                too_large = too_large or len(body) + len(event.data) > self._service.max_envelope_bytes
                if not too_large:
                    body += event.data
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers}
                path = request.target.decode("latin-1").partition("?")[0]
                return _Incoming(request.method.decode("ascii"), path, headers, None if too_large else bytes(body))
            else:
                return None

    async def _write(self, connection: h11.Connection, writer: asyncio.StreamWriter, outgoing: _Outgoing) -> None:
        headers = [("Server", "Microsoft-HTTPAPI/2.0"), ("Content-Length", str(len(outgoing.body))), *outgoing.headers]
        if outgoing.body:
            headers.append(("Content-Type", SOAP_TYPE))
        if outgoing.close:
            headers.append(("Connection", "close"))
        events = (
            h11.Response(status_code=outgoing.status, headers=[(name.encode(), value.encode()) for name, value in headers]),
            h11.Data(data=outgoing.body),
            h11.EndOfMessage(),
        )
        writer.write(b"".join(connection.send(event) or b"" for event in events))
        await writer.drain()

    async def _respond(self, incoming: _Incoming) -> _Outgoing | None:
        """The answer, or None for a connection that is dropped."""
        if incoming.path.rstrip("/").lower() != PATH or incoming.method != "POST":
            return _Outgoing(404 if incoming.path.rstrip("/").lower() != PATH else 405)
        if incoming.headers.get("wsmanidentify", "").lower() == "unauthenticated" and incoming.body is not None:
            with contextlib.suppress(soap.MalformedEnvelope):
                if soap.parse_request(incoming.body).identify:
                    return _Outgoing(200, self._service.identify(authenticated=False))
        user = authenticate(self._schemes, incoming.headers.get("authorization", ""))
        if user is None:
            return _Outgoing(401, headers=tuple(("WWW-Authenticate", scheme.challenge) for scheme in self._schemes))
        if incoming.body is None:
            return self._fault(faults.request_too_large(self._service.max_envelope_bytes), "", close=True)
        soap_type = incoming.headers.get("content-type", "").lower().startswith("application/soap+xml")
        return await self._answer(incoming.body, user) if soap_type else _Outgoing(415)

    async def _answer(self, body: bytes, user: str) -> _Outgoing | None:
        message_id = ""
        try:
            request = soap.parse_request(body)
            message_id = request.message_id
            if self._drop(request):
                return None
            answer = await self._service.handle(request, user)
        except soap.MalformedEnvelope as error:
            return self._fault(faults.invalid_xml(str(error)), message_id)
        except faults.WsmanFault as fault:
            return self._fault(fault, message_id)
        return _Outgoing(200, answer.document, answer=answer)

    def _fault(self, fault: faults.WsmanFault, relates_to: str, *, close: bool = False) -> _Outgoing:
        return _Outgoing(fault.http_status, fault.render(relates_to, self._service.computer_name), close=close)


async def _finish(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await writer.drain()
        writer.write_eof() if writer.can_write_eof() else None
    # Let what was written leave before the connection is cut.
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
