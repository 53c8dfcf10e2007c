"""The ARM endpoint: finds the handler, and gives every answer the headers and error shape of ARM."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from infra.local.arm import galleries
from infra.local.arm.access import Access
from infra.local.arm.cloud import GROUP_TYPE, Cloud
from infra.local.arm.disks import Disks
from infra.local.arm.errors import ArmError, not_implemented
from infra.local.arm.exchange import Answer, Call, Route
from infra.local.arm.images import Images
from infra.local.arm.interfaces import Interfaces
from infra.local.arm.machine_power import MachinePower
from infra.local.arm.machines import Machines
from infra.local.arm.marketplace import Marketplace
from infra.local.arm.network import Network
from infra.local.arm.removal import Removal
from infra.local.arm.resource_groups import ResourceGroups
from infra.local.arm.run_commands import RunCommands
from infra.local.arm.sizes import Sizes
from infra.local.arm.snapshots import Snapshots
from infra.local.state import ResourceStore

LOG = logging.getLogger(__name__)
ID_HEADER = "x-ms-correlation-request-id"


class ArmEndpoint:
    """Answers ARM requests; `answer` is a Starlette endpoint."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        removal, access = Removal(cloud), Access(cloud)
        self._routes: Sequence[Route] = [
            *cloud.operations.routes(),
            *ResourceGroups(cloud, removal).routes(),
            *Network(cloud, removal).routes(),
            *Interfaces(cloud, removal).routes(),
            *Machines(cloud, removal).routes(),
            *MachinePower(cloud).routes(),
            *RunCommands(cloud).routes(),
            *Disks(cloud, removal, access).routes(),
            *Snapshots(cloud, removal, access).routes(),
            *Images(cloud, removal).routes(),
            *Marketplace(cloud).routes(),
            *Sizes(cloud).routes(),
            *galleries.routes(),
        ]

    async def answer(self, request: Request) -> Response:
        """Handle one request; whatever goes wrong becomes an error in ARM's shape."""
        body = await request.body()
        # Handlers take locks that threads hold while SQLite writes; the event loop must not wait for those.
        answer = await run_in_threadpool(self._handle, request, body)
        headers = {
            "x-ms-request-id": str(uuid.uuid4()),
            ID_HEADER: request.headers.get(ID_HEADER, str(uuid.uuid4())),
            "Cache-Control": "no-cache",
            **answer.headers,
        }
        if answer.body is None or request.method == "HEAD":
            return Response(status_code=answer.status, headers=headers)
        return Response(json.dumps(answer.body), answer.status, headers, "application/json; charset=utf-8")

    def _handle(self, request: Request, body: bytes) -> Answer:
        try:
            self._strike(f"{request.method} {request.url.path}")
            route, call = self._route(request, body)
            return route.handler(call)
        except ArmError as refusal:
            return Answer(refusal.status, refusal.body(), refusal.headers)
        except Exception as problem:  # the boundary of the server: a client must get ARM's shape for a bug here, too
            LOG.exception("%s %s", request.method, request.url.path)
            return Answer(500, ArmError(500, "InternalServerError", f"{type(problem).__name__}: {problem}").body())

    def _strike(self, key: str) -> None:
        fault = self._cloud.faults.should("arm.request", key)
        if fault is not None:
            retry = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            raise ArmError(fault.status, fault.code, fault.message or "The request failed.", headers=retry)

    def _route(self, request: Request, body: bytes) -> tuple[Route, Call]:
        path = request.url.path
        for route in self._routes:
            parameters = route.match(path) if route.method == request.method else None
            if parameters is None:
                continue
            if parameters["subscription"].lower() != self._cloud.subscription_id.lower():
                raise ArmError(404, "SubscriptionNotFound", f"The subscription '{parameters['subscription']}' could not be found.")
            query = {name.lower(): value for name, value in request.query_params.items()}
            if "api-version" not in query:
                raise ArmError(
                    400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."
                )
            return route, Call(
                method=request.method,
                path=path,
                parameters=parameters,
                query=query,
                headers={name.lower(): value for name, value in request.headers.items()},
                body=_json_object(body),
                base_url=str(request.base_url).rstrip("/"),
                resource_id=route.resource_id(parameters),
            )
        raise not_implemented(request.method, path)


def _json_object(body: bytes) -> dict[str, object]:
    if not body.strip():
        return {}
    try:
        content = json.loads(body)
    except ValueError as error:
        raise ArmError(400, "InvalidRequestContent", f"The request content was invalid and could not be deserialized: {error}.") from error
    if not isinstance(content, dict):
        raise ArmError(400, "InvalidRequestContent", "The request content must be a JSON object.")
    return content


def recover(store: ResourceStore) -> None:
    """After a restart: what was under way has failed, and a group that was being deleted is there again, with what is left in it."""
    for resource in store.find():
        state = resource.properties.get("provisioningState")
        if state in ("Creating", "Updating", "Deleting"):
            resource.properties["provisioningState"] = "Succeeded" if resource.type == GROUP_TYPE else "Failed"
            store.put(resource)
