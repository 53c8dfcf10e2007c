"""One ARM request and its answer, and the table that finds the handler of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infra.local.arm.errors import invalid
from infra.local.state import Json

GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"
COMPUTE = f"{GROUP}/providers/Microsoft.Compute"
NETWORK = f"{GROUP}/providers/Microsoft.Network"


@dataclass(frozen=True)
class Call:
    """A request, taken apart. Names in `parameters` are those of the route's template, spelled as the client spelled them."""

    method: str
    path: str
    parameters: Mapping[str, str]
    query: Mapping[str, str]
    """Names in lower case."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Json
    base_url: str
    resource_id: str
    """The id of the resource addressed, in ARM's own spelling of the fixed parts and without the action."""

    @property
    def group_id(self) -> str:
        """Id of the resource group addressed."""
        return f"/subscriptions/{self.parameters['subscription']}/resourceGroups/{self.parameters['group']}"

    @property
    def properties(self) -> Json:
        """The body's properties; raises ArmError when they are not an object."""
        properties = self.body.get("properties") or {}
        if not isinstance(properties, dict):
            raise invalid("The request content was invalid: 'properties' must be an object.", "properties")
        return properties


@dataclass(frozen=True)
class Answer:
    """Status, JSON body (None: no body) and headers."""

    status: int
    body: Json | list[Json] | None = None
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Answer]


class Route:
    """METHOD and template; literal parts match without regard to case, as ARM's do."""

    def __init__(self, method: str, template: str, handler: Handler, *, action: str = "") -> None:
        self.method = method
        self.template = template
        self.handler = handler
        full = f"{template}/{action}" if action else template
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(full))
        self._pattern = re.compile(f"{pattern}/?", re.IGNORECASE)

    def match(self, path: str) -> dict[str, str] | None:
        """The template's parameters, or None."""
        found = self._pattern.fullmatch(path)
        return found.groupdict() if found else None

    def resource_id(self, parameters: Mapping[str, str]) -> str:
        """The template filled in."""
        return self.template.format(**parameters)
