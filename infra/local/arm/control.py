"""The stand-in's own routes below /_standin, which Azure has not: status, faults, the pretended day, the outside's request log."""

from __future__ import annotations

import datetime
import os

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from images.errors import ConfigurationError
from images.frozen import Frozen
from infra.local.arm.cloud import Cloud
from infra.local.arm.kinds import VM
from infra.local.arm.machine_view import power_state
from infra.local.faults import FaultPlan


class Control:
    """Answers GET /_standin/status; GET and PUT of /_standin/faults and /_standin/date."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Starlette routes."""
        return [
            Route("/_standin/status", self._status, methods=["GET"]),
            Route("/_standin/faults", self._faults, methods=["GET"]),
            Route("/_standin/faults", self._put_faults, methods=["PUT"]),
            Route("/_standin/date", self._date, methods=["GET"]),
            Route("/_standin/date", self._put_date, methods=["PUT"]),
        ]

    def _status(self, _: Request) -> Response:
        cloud = self._cloud
        kinds: dict[str, int] = {}
        for resource in cloud.store.find():
            kinds[resource.type] = kinds.get(resource.type, 0) + 1
        content = {
            "pid": os.getpid(),
            "resources": kinds,
            "machines": [{"id": vm.id, "power": power_state(cloud, vm)} for vm in cloud.store.find(kind=VM)],
            "operations": [{"name": operation.name, "resource": operation.resource_id} for operation in cloud.operations.in_progress()],
            "started": cloud.operations.started(),
            "latency_scale": cloud.latency.scale,
            "faults": cloud.faults.counters(),
            "date": _shown(cloud.today.day),
        }
        return JSONResponse(content)

    def _faults(self, _: Request) -> Response:
        return JSONResponse({"plan": self._cloud.faults.plan.model_dump(mode="json"), "counters": self._cloud.faults.counters()})

    async def _put_faults(self, request: Request) -> Response:
        """Put the FaultPlan in the body in force; 400 names what is wrong with it."""
        try:
            self._cloud.faults.replace(FaultPlan.model_validate_json(await request.body()))
        except (ValidationError, ConfigurationError) as error:
            return JSONResponse({"error": {"code": "InvalidFaultPlan", "message": str(error)}}, status_code=400)
        return self._faults(request)

    def _date(self, _: Request) -> Response:
        return JSONResponse({"date": _shown(self._cloud.today.day)})

    async def _put_date(self, request: Request) -> Response:
        """Pretend the day in the body, {"date": "2026-08-12"}, or none with null; 400 says what is wrong with it."""
        try:
            wanted = _WantedDate.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": {"code": "InvalidDate", "message": str(error)}}, status_code=400)
        self._cloud.today.pretend(wanted.date)
        return self._date(request)


class _WantedDate(Frozen):
    date: datetime.date | None


def _shown(day: datetime.date | None) -> str | None:
    return day.isoformat() if day else None
