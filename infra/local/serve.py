"""The stand-in cloud as one process: ARM, guests, the outside, and Azurite beside it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from infra.azure.profile import CloudProfile, StorageAccess
from infra.local.arm.app import ArmEndpoint, recover
from infra.local.arm.cloud import Cloud
from infra.local.arm.control import Control
from infra.local.arm.operations import Operations
from infra.local.arm.page_blobs import PageBlobs
from infra.local.azurite import Azurite
from infra.local.contracts import Outside
from infra.local.disks.store import FolderDiskStore
from infra.local.faults import FaultPlan, Faults
from infra.local.guest.host import WsmanGuestHost
from infra.local.latency import LatencyProfile
from infra.local.loopback import open_listener
from infra.local.origin.request_log import read_requests
from infra.local.origin.server import create_app
from infra.local.ownership import announce, is_alive
from infra.local.pretended_date import PretendedDate
from infra.local.state import ResourceStore
from infra.local.storage_front import StorageFront

SUBSCRIPTION_ID = "57a4d115-0000-4000-8000-000000000001"
LOCATION = "westus3"
VCPU_QUOTA = 64
LEAST_POLL_S = 0.05
"""More looks than these would keep this machine busy with looking."""
VM_SIZES = ("Standard_D4s_v5", "Standard_D8s_v5", "Standard_D4s_v3", "Standard_D8s_v3")
PROVISIONING_TIMEOUT_S = 60.0
METHODS = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS"]


@dataclass(frozen=True)
class ServeOptions:
    """Where the state lies, what goes wrong, how long things take, whose end ends the stand-in (0: nobody's), and the day it pretends."""

    state: Path
    faults: FaultPlan
    latency: LatencyProfile
    until_exits_pid: int = 0
    today: date | None = None


def serve(options: ServeOptions, azurite: Azurite) -> None:
    """Run until SIGTERM, SIGINT or the end of the process named; the caller owns the state folder and has launched Azurite."""
    with contextlib.ExitStack() as closing:
        # Our own handlers do nothing: uvicorn catches the signals, ends its server, and raises them again for whoever was there before.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        listener = closing.enter_context(open_listener())
        app, announcement = _assemble(options, azurite, listener.getsockname()[1], closing)
        # What is loaded by now stays; the collector need not look at it again.
        gc.freeze()
        asyncio.run(_run(options, app, listener, announcement))


async def _run(options: ServeOptions, app: Starlette, listener: socket.socket, announcement: dict[str, Any]) -> None:
    config = uvicorn.Config(
        app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)

    async def announce_when_started() -> None:
        while not server.started:
            await asyncio.sleep(0.01)
        announce(options.state, announcement)

    async def watch() -> None:
        while is_alive(options.until_exits_pid):
            await asyncio.sleep(0.5)
        server.should_exit = True

    tasks = [asyncio.create_task(announce_when_started())]
    if options.until_exits_pid:
        tasks.append(asyncio.create_task(watch()))
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _assemble(options: ServeOptions, azurite: Azurite, port: int, closing: contextlib.ExitStack) -> tuple[Starlette, dict[str, Any]]:
    """The application and what standin.json will say; everything started is closed by `closing`, in the opposite order."""
    state = options.state
    folders = {name: state / name for name in ("disks", "images", "scratch", "outside")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    base = f"http://127.0.0.1:{port}"
    faults = Faults(options.faults)
    store = ResourceStore(state / "resources.sqlite")
    closing.callback(store.close)
    recover(store)
    guests = WsmanGuestHost(folders["disks"], Outside(f"{base}/outside"), faults, options.latency)
    closing.callback(guests.close)
    today = PretendedDate(options.today)
    outside = create_app(folders["outside"], faults, options.latency, today)
    azurite.wait_ready()
    blobs = PageBlobs(azurite.endpoint, azurite.keys)
    operations = Operations(faults, options.latency, LOCATION)
    closing.callback(operations.close)
    cloud = Cloud(
        subscription_id=SUBSCRIPTION_ID,
        location=LOCATION,
        vm_sizes=VM_SIZES,
        store=store,
        operations=operations,
        disks=FolderDiskStore(folders["disks"]),
        guests=guests,
        blobs=blobs,
        faults=faults,
        latency=options.latency,
        today=today,
        scratch=folders["scratch"],
        vhds=folders["images"],
        provisioning_timeout_s=PROVISIONING_TIMEOUT_S + sum(map(options.latency.seconds, ("guest.specialize", "guest.boot"))),
    )
    storage = azurite.endpoint
    if options.latency.scale > 0:
        storage = closing.enter_context(StorageFront(azurite.endpoint, options.latency, blobs.data_bytes, blobs.made_in)).endpoint
        blobs.behind(storage)

    def origin_log(_: Request) -> Response:
        lines = "".join(record.model_dump_json() + "\n" for record in read_requests(folders["outside"]))
        return Response(lines, media_type="application/x-ndjson")

    app = Starlette(
        routes=[
            Mount("/outside", outside),
            Route("/_standin/origin-log", origin_log),
            *Control(cloud).routes(),
            Route("/{path:path}", ArmEndpoint(cloud).answer, methods=METHODS),
        ]
    )
    profile = _profile(base, storage, azurite.keys, poll_interval_s(options.latency.scale))
    return app, {"pid": os.getpid(), "azurite_pid": azurite.pid, "state": str(state.resolve()), "profile": reveal(profile)}


def poll_interval_s(scale: float) -> float:
    """Seconds between two looks: as on Azure, times the scale of the latencies; short where nothing takes any time."""
    usual = float(CloudProfile.model_fields["poll_interval_s"].default)
    return min(usual, max(LEAST_POLL_S, usual * scale)) if scale > 0 else 0.1


def _profile(base: str, storage: str, keys: Mapping[str, str], poll_interval_s: float) -> CloudProfile:
    def access(account: str) -> StorageAccess:
        return StorageAccess(account=account, endpoint=f"{storage}/{account}", key=SecretStr(keys[account]))

    return CloudProfile(
        name="local",
        subscription_id=SUBSCRIPTION_ID,
        location=LOCATION,
        vm_sizes=VM_SIZES,
        vcpu_quota=VCPU_QUOTA,
        arm_endpoint=base,
        credential="none",
        storage=access("winvhd"),
        copy_targets=(access("winvhdcopy"),),
        winrm_port=0,
        outside_gateway=f"{base}/outside",
        origin_log_url=f"{base}/_standin/origin-log",
        poll_interval_s=poll_interval_s,
    )


def reveal(profile: CloudProfile) -> dict[str, Any]:
    """The profile as JSON with its storage keys readable, for a file that only its owner can read."""
    content = profile.model_dump(mode="json")
    for access, shown in [(profile.storage, content["storage"]), *zip(profile.copy_targets, content["copy_targets"], strict=True)]:
        if access.key is not None:
            shown["key"] = access.key.get_secret_value()
    return content
