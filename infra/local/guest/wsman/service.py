"""The WinRM service of one guest: a request's envelope in, an answer's envelope out."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from xml.sax.saxutils import escape

from infra.local.guest.process import CONTROL_C_EXIT, GuestProcess, StreamName
from infra.local.guest.wsman import faults, soap
from infra.local.guest.wsman.shells import CommandRequest, Shell, ShellRequest, ShellTable

ENVELOPE_OVERHEAD_BYTES = 2048
"""Room for everything in a Receive answer that is not base64 of the streams."""
STREAM_OVERHEAD_BYTES = 128
"""What one Stream element costs besides its base64."""


def _nothing() -> None:
    """Nothing has to be put back."""


@dataclass(frozen=True)
class Answer:
    """An envelope, and what to do when it can not be delivered."""

    document: bytes
    undo: Callable[[], None] = _nothing


class WinRmService:
    """Answers the requests of authenticated callers; lives in the network thread."""

    def __init__(self, shells: ShellTable, *, computer_name: str, product_version: str, max_envelope_kb: int) -> None:
        self.shells = shells
        self.computer_name = computer_name
        self.max_envelope_bytes = max_envelope_kb * 1024
        self._max_envelope_kb = max_envelope_kb
        self._product_version = product_version
        self._actions: dict[str, Callable[[soap.Request, str], Awaitable[Answer]]] = {
            f"{soap.TRANSFER}/Get": self._get,
            f"{soap.TRANSFER}/Create": self._create,
            f"{soap.TRANSFER}/Delete": self._delete,
            f"{soap.SHELL}/Command": self._command,
            f"{soap.SHELL}/Send": self._send,
            f"{soap.SHELL}/Receive": self._receive,
            f"{soap.SHELL}/Signal": self._signal,
        }

    def identify(self, *, authenticated: bool) -> bytes:
        """The answer to Identify; who is not authenticated does not learn the version of Windows."""
        version = self._product_version if authenticated else "0.0.0"
        return soap.envelope(
            soap.IDENTIFY_RESPONSE,
            "",
            f'<wsmid:IdentifyResponse xmlns:wsmid="{soap.IDENTITY}"><wsmid:ProtocolVersion>{soap.WSMAN}</wsmid:ProtocolVersion>'
            f"<wsmid:ProductVendor>Microsoft Corporation</wsmid:ProductVendor>"
            f"<wsmid:ProductVersion>OS: {version} SP: 0.0 Stack: 3.0</wsmid:ProductVersion></wsmid:IdentifyResponse>",
        )

    async def handle(self, request: soap.Request, user: str) -> Answer:
        """The answer to one request; raises WsmanFault."""
        if request.identify:
            return Answer(self.identify(authenticated=True))
        if request.max_envelope_bytes < soap.MINIMUM_ENVELOPE_BYTES:
            raise faults.envelope_minimum(soap.MINIMUM_ENVELOPE_BYTES)
        action = self._actions.get(request.action)
        if action is None:
            raise faults.action_not_supported(request.action)
        if request.action != f"{soap.TRANSFER}/Get" and request.resource_uri != soap.SHELL_RESOURCE:
            raise faults.unknown_resource(request.resource_uri)
        return await action(request, user)

    def _answer(self, request: soap.Request, body: str, undo: Callable[[], None] = _nothing) -> Answer:
        return Answer(soap.envelope(f"{request.action}Response", request.message_id, body), undo)

    def _shell(self, request: soap.Request, user: str) -> Shell:
        return self.shells.find(request.selectors.get("ShellId", ""), user)

    async def _get(self, request: soap.Request, _user: str) -> Answer:
        if request.resource_uri != soap.CONFIG_RESOURCE:
            raise faults.unknown_resource(request.resource_uri)
        size = f"<cfg:MaxEnvelopeSizekb>{self._max_envelope_kb}</cfg:MaxEnvelopeSizekb>"
        return self._answer(request, f"<cfg:Config>{size}<cfg:MaxTimeoutms>60000</cfg:MaxTimeoutms></cfg:Config>")

    async def _create(self, request: soap.Request, user: str) -> Answer:
        node = _child(request.body, "Shell")
        idle = node.findtext(f"{{{soap.SHELL}}}IdleTimeOut")
        codepage = request.options.get("WINRS_CODEPAGE", "437")
        try:
            wanted = ShellRequest(
                owner=user,
                codepage=int(codepage),
                # pywinrm hands its idle_timeout on as it is: a bare number counts as seconds there.
                idle_timeout_s=float(idle) if idle and idle.isdigit() else soap.duration_seconds(idle or "PT7200S"),
                working_directory=node.findtext(f"{{{soap.SHELL}}}WorkingDirectory") or "",
                environment={item.get("Name", ""): item.text or "" for item in node.iter(f"{{{soap.SHELL}}}Variable")},
                input_streams=node.findtext(f"{{{soap.SHELL}}}InputStreams") or "stdin",
                output_streams=node.findtext(f"{{{soap.SHELL}}}OutputStreams") or "stdout stderr",
            )
        except ValueError as error:
            raise faults.schema_validation(str(error)) from error
        shell = self.shells.create(wanted, node.get("ShellId"))
        selector = f'<w:SelectorSet><w:Selector Name="ShellId">{escape(shell.shell_id)}</w:Selector></w:SelectorSet>'
        owner = escape("\\".join((self.computer_name, user)))
        return self._answer(
            request,
            f"<x:ResourceCreated><a:Address>{soap.ANONYMOUS}</a:Address><a:ReferenceParameters>"
            f"<w:ResourceURI>{soap.SHELL_RESOURCE}</w:ResourceURI>{selector}</a:ReferenceParameters></x:ResourceCreated>"
            f"<rsp:Shell><rsp:ShellId>{escape(shell.shell_id)}</rsp:ShellId><rsp:ResourceUri>{soap.SHELL_RESOURCE}</rsp:ResourceUri>"
            f"<rsp:Owner>{owner}</rsp:Owner><rsp:ClientIP>127.0.0.1</rsp:ClientIP>"
            f"<rsp:IdleTimeOut>PT{wanted.idle_timeout_s:.3f}S</rsp:IdleTimeOut><rsp:InputStreams>{escape(wanted.input_streams)}"
            f"</rsp:InputStreams><rsp:OutputStreams>{escape(wanted.output_streams)}</rsp:OutputStreams></rsp:Shell>",
        )

    async def _delete(self, request: soap.Request, user: str) -> Answer:
        self.shells.delete(self._shell(request, user))
        return self._answer(request, "")

    async def _command(self, request: soap.Request, user: str) -> Answer:
        shell = self._shell(request, user)
        node = _child(request.body, "CommandLine")
        parts = [node.findtext(f"{{{soap.SHELL}}}Command") or "", *(item.text or "" for item in node.findall(f"{{{soap.SHELL}}}Arguments"))]
        line = CommandRequest(" ".join(parts).strip(), request.options.get("WINRS_SKIP_CMD_SHELL", "FALSE").upper() == "TRUE")
        command_id = self.shells.run(shell, line, node.get("CommandId"))
        return self._answer(request, f"<rsp:CommandResponse><rsp:CommandId>{command_id}</rsp:CommandId></rsp:CommandResponse>")

    async def _send(self, request: soap.Request, user: str) -> Answer:
        shell = self._shell(request, user)
        for node in _child(request.body, "Send").findall(f"{{{soap.SHELL}}}Stream"):
            if node.get("Name") != "stdin":
                raise faults.schema_validation(f"unknown input stream {node.get('Name')}")
            process = self.shells.command(shell, node.get("CommandId", ""))
            try:
                data = base64.b64decode(node.text or "", validate=True)
            except binascii.Error as error:
                raise faults.schema_validation("the stream is not base64") from error
            if not process.feed(data, end=node.get("End", "false").lower() in ("true", "1")):
                raise faults.input_closed()
        return self._answer(request, "<rsp:SendResponse/>")

    async def _receive(self, request: soap.Request, user: str) -> Answer:
        shell = self._shell(request, user)
        command_id = _child(_child(request.body, "Receive"), "DesiredStream").get("CommandId", "").upper()
        process = self.shells.command(shell, command_id)
        limit = min(request.max_envelope_bytes, self.max_envelope_bytes) - ENVELOPE_OVERHEAD_BYTES
        # base64 makes 4 bytes of 3.
        chunks, exit_code = await self._wait_for_output(process, limit * 3 // 4, request.operation_timeout_s)
        # A command that was terminated meanwhile is gone from the shell.
        if shell.commands.get(command_id) is not process:
            raise faults.aborted()
        shell.last_used = time.monotonic()
        return self._answer(request, _receive_body(command_id, chunks, exit_code), lambda: process.give_back(chunks))

    async def _wait_for_output(
        self, process: GuestProcess, limit_bytes: int, timeout_s: float
    ) -> tuple[list[tuple[StreamName, bytes]], int | None]:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        unsubscribe = process.subscribe(lambda: _wake(loop, changed))
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    changed.clear()
                    chunks, exit_code = process.take(limit_bytes, STREAM_OVERHEAD_BYTES)
                    if chunks or exit_code is not None:
                        return chunks, exit_code
                    await changed.wait()
        except TimeoutError as error:
            raise faults.timed_out() from error
        finally:
            unsubscribe()

    async def _signal(self, request: soap.Request, user: str) -> Answer:
        shell = self._shell(request, user)
        node = _child(request.body, "Signal")
        command_id, code = node.get("CommandId", ""), (node.findtext(f"{{{soap.SHELL}}}Code") or "").strip().lower()
        # Clients spell the code both Terminate and terminate.
        match code.rpartition("/")[2]:
            case "terminate":
                self.shells.end_command(shell, command_id)
            case "ctrl_c" | "ctrl_break":
                self.shells.command(shell, command_id).kill(CONTROL_C_EXIT)
            case _:
                raise faults.schema_validation(f"unknown signal {code}")
        return self._answer(request, "<rsp:SignalResponse/>")


def _wake(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(changed.set)


def _child(parent: ET.Element, name: str) -> ET.Element:
    node = parent.find(f"{{{soap.SHELL}}}{name}")
    if node is None:
        raise faults.schema_validation(f"the element {name} is missing")
    return node


def _receive_body(command_id: str, chunks: list[tuple[StreamName, bytes]], exit_code: int | None) -> str:
    streams = [
        f'<rsp:Stream Name="{stream}" CommandId="{command_id}">{base64.b64encode(data).decode("ascii")}</rsp:Stream>'
        for stream, data in chunks
    ]
    if exit_code is None:
        state = f'<rsp:CommandState CommandId="{command_id}" State="{soap.SHELL}/CommandState/Running"/>'
    else:
        streams += [f'<rsp:Stream Name="{name}" CommandId="{command_id}" End="true"/>' for name in ("stdout", "stderr")]
        state = (
            f'<rsp:CommandState CommandId="{command_id}" State="{soap.SHELL}/CommandState/Done">'
            f"<rsp:ExitCode>{exit_code}</rsp:ExitCode></rsp:CommandState>"
        )
    return f"<rsp:ReceiveResponse>{''.join(streams)}{state}</rsp:ReceiveResponse>"
