"""The vCPU quota: a global concurrency limit of Prefect whose slots are the vCPUs of all build VMs.

As Prefect 3.9.1 behaves (read in prefect/server/api/concurrency_limits_v2.py and prefect/concurrency, and tried on SQLite):
- Slots come with a lease of 60 s at least. Those of a process that was killed come free when the lease is over and the server's repossessor
  has come round, which it does every 15 s (kill -9 of a holder with a lease of 60 s: after 61 and 75 s). `holder` frees nothing sooner.
- They never come free on a server that was started with --no-services, nor after one ended that kept its leases in memory, as it does by
  default: the database still counts the slots. infra/prefect/server.py therefore keeps leases in files, and the repossessor always.
- A limit that does not exist gives nothing and refuses nothing: "strict" means to look whether the answer names the limit. More slots than
  the whole limit are refused (422); a limit that somebody switched off in the UI refuses nobody.
- `prefect.concurrency.sync.concurrency` works in plain threads beside a flow and outside flows as well. But it says nothing while it waits
  and can not be stopped; it asks again when the server says, which follows the average time that slots were kept (0.5 to 0.8 s on a new
  limit, up to 39 s later); and after three renewals that failed within seconds, as while a server restarts, it ends the thread or goes on
  without slots. So the same client calls are made here, at our own pace. Taking and giving back cost about 50 ms together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from images.errors import AllocationError, ConfigurationError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse

Say = Callable[[str], None]

LEASE_S = 120.0
"""How long the slots of a killed process stay taken; long enough for a server to restart meanwhile."""
RENEW_S = 30.0
POLL_S = 5.0
_SAY_S = 60.0
_TIMEOUT_S = 20.0


def quota_name(location: str) -> str:
    """The name of a region's limit: Azure's own quotas are by region too."""
    return f"winvhd-vcpus-{location}"


def ensure_quota(name: str, limit: int) -> None:
    """Make the limit, or give it this number of vCPUs; who has some keeps them. Builds may do so at the same time.

    Raises ConfigurationError when Prefect's server does not answer.
    """
    from prefect.exceptions import ObjectAlreadyExists

    with _client() as client, _answers():
        try:
            client.upsert_global_concurrency_limit_by_name(name, limit)
        except ObjectAlreadyExists:
            # Another build made it between Prefect's look and its creation.
            client.upsert_global_concurrency_limit_by_name(name, limit)


@contextmanager
def occupied(
    name: str,
    vcpus: int,
    timeout_s: float | None = None,
    *,
    on_event: Say = lambda _text: None,
    poll_s: float = POLL_S,
    pause: Callable[[float], None] = time.sleep,
    lease_s: float = LEASE_S,
    renew_s: float = RENEW_S,
) -> Iterator[None]:
    """Take vCPUs of the quota for the block, waiting until enough are free; `on_event` hears now and then what it waits for.

    `pause` waits so many seconds and may raise to end the waiting. Whoever asks first after vCPUs came free gets them: there is no order.
    Raises ConfigurationError for a quota that does not exist or is smaller than `vcpus`, AllocationError after `timeout_s`. When slots are
    lost while the block runs, it goes on and `on_event` is told: a VM that exists counts in Azure whatever Prefect thinks of it.
    """
    with _client() as client:
        with _answers():
            lease = _take(client, name, vcpus, timeout_s, on_event, poll_s, pause, lease_s)
        done = threading.Event()
        keeper = threading.Thread(target=_keep, args=(client, lease, lease_s, renew_s, done, on_event), name=f"quota {name}", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            _give_back(client, lease, lease_s, on_event)


def _take(
    client: SyncPrefectClient,
    name: str,
    vcpus: int,
    timeout_s: float | None,
    on_event: Say,
    poll_s: float,
    pause: Callable[[float], None],
    lease_s: float,
) -> UUID:
    begun = time.monotonic()
    said_at: float | None = None
    while True:
        lease = _ask(client, name, vcpus, lease_s)
        now = time.monotonic()
        if lease is not None:
            if said_at is not None:
                on_event(f"got {vcpus} vCPUs after {now - begun:.0f} s")
            return lease
        if timeout_s is not None and now - begun >= timeout_s:
            raise AllocationError(
                f"{vcpus} vCPUs of the quota {name} did not come free within {timeout_s:.0f} s",
                code="VcpuQuotaTaken",
                hint="run fewer builds at the same time, or raise vcpu_quota in the profile if Azure allows more",
            )
        if said_at is None or now - said_at >= _SAY_S:
            said_at = now
            on_event(f"waiting for {vcpus} vCPUs: {_state(client, name)}")
        pause(poll_s if timeout_s is None else max(0.0, min(poll_s, timeout_s - (now - begun))))


def _ask(client: SyncPrefectClient, name: str, vcpus: int, lease_s: float) -> UUID | None:
    """The lease of slots that were free; None when they are not."""
    from prefect.client.schemas.responses import ConcurrencyLimitWithLeaseResponse

    try:
        answer = client.increment_concurrency_slots_with_lease([name], vcpus, "concurrency", lease_s)
    except httpx.HTTPStatusError as error:
        match error.response.status_code:
            case HTTPStatus.LOCKED:
                return None
            case HTTPStatus.UNPROCESSABLE_ENTITY:
                raise ConfigurationError(
                    f"a VM with {vcpus} vCPUs does not fit into the quota {name}: {_state(client, name)}",
                    hint="name smaller sizes in the profile's vm_sizes, or raise its vcpu_quota",
                ) from None
        raise
    granted = ConcurrencyLimitWithLeaseResponse.model_validate(answer.json())
    if not granted.limits:
        raise _missing(name)
    return granted.lease_id


def _state(client: SyncPrefectClient, name: str) -> str:
    limit = _read(client, name)
    return f"{limit.active_slots} of {limit.limit} are taken"


def _read(client: SyncPrefectClient, name: str) -> GlobalConcurrencyLimitResponse:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        raise _missing(name) from None


def _missing(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"the Prefect server has no concurrency limit called {name}",
        hint=f"was it deleted while the build ran? Run again, or: prefect gcl create {name} --limit VCPUS",
    )


def _keep(client: SyncPrefectClient, lease: UUID, lease_s: float, renew_s: float, done: threading.Event, on_event: Say) -> None:
    while not done.wait(renew_s):
        try:
            client.renew_concurrency_lease(lease, lease_s)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == HTTPStatus.GONE:
                on_event("the Prefect server has given this build's vCPUs away: more VMs than the quota allows may run for a while")
                return
        except httpx.HTTPError:
            # The server may be restarting: the lease lasts for some renewals more.
            continue


def _give_back(client: SyncPrefectClient, lease: UUID, lease_s: float, on_event: Say) -> None:
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        # As many as the client makes by default take a minute when the server is gone, and the lease ends by itself.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 2}):
            client.release_concurrency_slots_with_lease(lease)
    except httpx.HTTPError as error:
        # The build's own result matters more.
        on_event(f"could not give vCPUs back ({type(error).__name__}): they come free within {lease_s:.0f} s")


def _client() -> SyncPrefectClient:
    """A client of our own, not the one of the flow run around: it is used by two threads and must not depend on a context."""
    from prefect.client.orchestration import get_client

    try:
        return get_client(httpx_settings={"timeout": _TIMEOUT_S}, sync_client=True)
    except ValueError as error:
        raise ConfigurationError(f"no Prefect server: {error}", hint="set PREFECT_API_URL, or start one: winvhd local up") from None


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise ConfigurationError(
            f"the Prefect server refused: {error.response.status_code} {error.response.text[:300]}",
            hint="is it of the version that this checkout asks for (pyproject.toml)?",
        ) from None
    except httpx.HTTPError as error:
        raise ConfigurationError(
            f"the Prefect server does not answer: {type(error).__name__} {error}",
            hint="is it running? PREFECT_API_URL says where it should be",
        ) from None
