"""A lease in blob storage that lets one build at a time make a layer, or one run at a time do a month's work.

Facts of https://learn.microsoft.com/rest/api/storageservices/lease-blob: a lease lasts 15 to 60 s; acquiring again with the same id is
allowed; a lease that has run out can be renewed as long as nobody else took it or wrote the blob. The last one is why this machine's own
clock has a say as well: a holder that was paused for longer than its lease must not go on as if nothing had been.

The lease alone is no fence: between a check and what the holder does next any time may pass. The fence is the creation of the snapshot.
"""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from images.errors import BuildError, CloudError
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.tags import format_time

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobLeaseClient

LEASE_S = 60
RENEW_S = 15.0
SHORTEST_LEASE_S = 15

_AGAIN_S = 0.5
"""Wait before a renewal that failed is tried again."""
_PATIENCE_S = 5
"""How long one request may take: a lease must not run out while a dead connection is waited for."""
_ATTEMPTS = 5
_PAUSED = "this process had been paused"
_HOLDER, _SINCE = "holder", "since"


class LeaseLostError(BuildError):
    """The lease on a layer is no longer ours: another build may be making the layer. Who leases something else says so in its own words."""

    title: ClassVar[str] = "the layer's lease was lost"
    default_hint: ClassVar[str] = "run the build again: it continues from the last checkpoint"


def boot_time() -> float:
    """Seconds of a clock that also runs while the machine is suspended, where there is one (Linux: CLOCK_BOOTTIME)."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class LayerLease:
    """A lease that is held and renewed by a thread until it is released or lost; made by `try_acquire`, usable in `with`."""

    def __init__(self, what: str, blob: BlobClient, lease: BlobLeaseClient, *, ends_at: float, duration_s: int, renew_s: float) -> None:
        self._what = what
        self._blob = blob
        self._lease = lease
        self._duration_s = duration_s
        self._ends_at = ends_at
        self._lost = ""
        self._trouble = _PAUSED
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep, args=(renew_s,), name=f"lease {what}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def must_be_held(self) -> None:
        """Return when the lease was renewed just now and has never run out; raises LeaseLostError when not."""
        while True:
            with self._lock:
                if self._released.is_set():
                    raise LeaseLostError(f"the lease on {self._what} was given back")
                problem = self._renew()
                if self._lost:
                    raise LeaseLostError(f"the lease on {self._what} was lost: {self._lost}")
            if problem is None:
                return
            time.sleep(_AGAIN_S)

    def release(self) -> None:
        """Give the lease back, if it is still ours; may be called twice and never raises, since a lease ends by itself."""
        with self._lock:
            if self._released.is_set():
                return
            self._released.set()
        self._thread.join()
        # The blob goes with the lease: on a blob that somebody else has leased meanwhile, our id is refused.
        with contextlib.suppress(CloudError), refusals(f"release {self._what}"), self._blob:
            self._blob.delete_blob(lease=self._lease, **_quick())

    def _keep(self, renew_s: float) -> None:
        pause = renew_s
        while not self._released.wait(pause):
            with self._lock:
                if self._released.is_set():
                    return
                problem = self._renew()
                if self._lost:
                    return
            pause = renew_s if problem is None else _AGAIN_S

    def _renew(self) -> CloudError | None:
        """Renew once, under the lock. Gives a failure that may pass; sets `_lost` for one that will not, or when time is over."""
        started = boot_time()
        problem: CloudError | None = None
        if not self._lost and started < self._ends_at:
            try:
                with refusals(f"renew the lease on {self._what}"):
                    self._lease.renew(**_quick())
            except CloudError as error:
                problem = error
                self._trouble = error.what
                # 404: the blob is gone; 409: the lease is another's; 412: it was broken. Anything else may pass.
                if error.status in {404, 409, 412}:
                    self._lost = error.what
        # Judged after the answer: it may have come late, and a renewal of a lease that had run out counts for nothing.
        if not self._lost and boot_time() >= self._ends_at:
            self._lost = f"it ran out after {self._duration_s} s ({self._trouble})"
        if not self._lost and problem is None:
            self._ends_at = started + self._duration_s
            self._trouble = _PAUSED
        return problem


def try_acquire(
    cloud: Cloud,
    *,
    scope: str,
    fingerprint: str,
    holder: str,
    what: str = "",
    container: str = BUILDS_CONTAINER,
    duration_s: int = LEASE_S,
    renew_s: float = RENEW_S,
) -> LayerLease | None:
    """The lease on a layer, for the build `holder`; None while somebody else holds it, be it an earlier process of the same build.

    A process that was killed holds its lease for `duration_s` (15 to 60) at most. `what` is how errors name what is leased, the layer
    when nothing is said. Raises CloudError.
    """
    from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
    from azure.storage.blob import BlobLeaseClient

    what = what or _layer(fingerprint)
    blob = _blob(cloud, container, scope, fingerprint)
    lease = BlobLeaseClient(blob)
    with refusals(f"lease {what}"):
        for attempt in range(1, _ATTEMPTS + 1):
            started = boot_time()
            try:
                lease.acquire(duration_s)
                break
            except ResourceExistsError:
                blob.close()
                return None
            except ResourceNotFoundError:
                if attempt == _ATTEMPTS:
                    raise
                _create(blob)
    held = LayerLease(what, blob, lease, ends_at=started + duration_s, duration_s=duration_s, renew_s=renew_s)
    try:
        with refusals(f"lease {what}"):
            blob.set_blob_metadata({_HOLDER: holder, _SINCE: format_time(datetime.now(UTC))}, lease=lease)
    except BaseException:
        held.release()
        raise
    return held


def holder_of(cloud: Cloud, scope: str, fingerprint: str, *, what: str = "", container: str = BUILDS_CONTAINER) -> str | None:
    """The build that holds the lease on a layer now; None when nobody does, or its holder has not said yet. Raises CloudError.

    `what` is how errors name what is leased, the layer when nothing is said.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with refusals(f"see who leases {what or _layer(fingerprint)}"), _blob(cloud, container, scope, fingerprint) as blob:
        try:
            properties = blob.get_blob_properties()
        except ResourceNotFoundError:
            return None
    return properties.metadata.get(_HOLDER) if properties.lease.state == "leased" else None


def _layer(fingerprint: str) -> str:
    return f"layer {fingerprint[:12]}"


def _blob(cloud: Cloud, container: str, scope: str, fingerprint: str) -> BlobClient:
    return cloud.blobs().get_blob_client(container, f"leases/{scope}/{fingerprint}")


def _create(blob: BlobClient) -> None:
    from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

    # Somebody else may have made it, and may have leased it already (412).
    with contextlib.suppress(ResourceExistsError, ResourceModifiedError):
        blob.upload_blob(b"", overwrite=False)


def _quick() -> dict[str, Any]:
    """Options of a request that is not retried by the SDK, whose back-off is longer than a lease."""
    return {"connection_timeout": _PATIENCE_S, "read_timeout": _PATIENCE_S, "retry_total": 0}
