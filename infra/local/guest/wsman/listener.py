"""The HTTPS listener of one guest: HTTP/1.1 with keep-alive over TLS, on 127.0.0.1 only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import h11

from infra.local.guest.wsman import faults, soap
from infra.local.guest.wsman.authentication import Authentication, Caller
from infra.local.guest.wsman.service import Answer, WinRmService

LOG = logging.getLogger(__name__)

READ_BYTES = 65536
BACKLOG = 100
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
        self._tasks: set[asyncio.Task[None]] = set()
        self._handed_over: set[socket.socket] = set()
        self._listening: socket.socket | None = None

    async def open(self, port: int, context: ssl.SSLContext) -> None:
        """Listen on 127.0.0.1:port; raises OSError when the port is taken."""
        self._listening = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        self._listening.setblocking(False)
        # Not asyncio.start_server: closing its server while a connection is being accepted leaks that connection (CPython 3.11).
        asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening, context)
        self._tasks.add(asyncio.create_task(self._delete_idle_shells()))

    async def close(self) -> None:
        """Stop listening, cut every connection, delete every shell."""
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        self._service.shells.delete_all()
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)

    def _accept(self, listening: socket.socket, context: ssl.SSLContext) -> None:
        try:
            connection, _ = listening.accept()
        except OSError as error:
            LOG.debug("a client went before it was accepted: %s", error)
            return
        connection.setblocking(False)
        task = asyncio.create_task(self._converse(connection, context))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, connection))

    def _ended(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # Only a task that was cancelled before it began still owns its socket; every other one has handed it to its transport.
        if task.cancelled() and connection not in self._handed_over:
            connection.close()
        self._handed_over.discard(connection)

    async def _delete_idle_shells(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SHELL_CHECK_S)
            self._service.shells.delete_idle()

    async def _converse(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        self._handed_over.add(connection)
        # Without this each answer would wait for the delayed acknowledgement of the one before it, 40 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context, ssl_handshake_timeout=HANDSHAKE_S)
        except (OSError, TimeoutError) as error:
            LOG.debug("no TLS with a client: %s", error)
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            LOG.debug("WinRM connection ended: %s", error)
        finally:
            # A close handshake would wait for a peer that may be gone.
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, caller = h11.Connection(h11.SERVER), Caller(self._schemes)
        while True:
            incoming = await self._next_request(connection, reader, writer)
            if incoming is None:
                return
            outgoing = await self._respond(incoming, caller)
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

    async def _respond(self, incoming: _Incoming, caller: Caller) -> _Outgoing | None:
        """The answer, or None for a connection that is dropped."""
        if incoming.path.rstrip("/").lower() != PATH or incoming.method != "POST":
            return _Outgoing(404 if incoming.path.rstrip("/").lower() != PATH else 405)
        if incoming.headers.get("wsmanidentify", "").lower() == "unauthenticated" and incoming.body is not None:
            with contextlib.suppress(soap.MalformedEnvelope):
                if soap.parse_request(incoming.body).identify:
                    return _Outgoing(200, self._service.identify(authenticated=False))
        verdict = caller.identify(incoming.headers.get("authorization", ""))
        if not verdict.account:
            return _Outgoing(401, headers=tuple(("WWW-Authenticate", value) for value in caller.challenges(verdict)))
        if incoming.body is None:
            return self._fault(faults.request_too_large(self._service.max_envelope_bytes), "", close=True)
        soap_type = incoming.headers.get("content-type", "").lower().startswith("application/soap+xml")
        outgoing = await self._answer(incoming.body, verdict.account) if soap_type else _Outgoing(415)
        if outgoing is not None and verdict.answer:
            return replace(outgoing, headers=(*outgoing.headers, ("WWW-Authenticate", verdict.answer)))
        return outgoing

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
