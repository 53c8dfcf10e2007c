"""What ARM answers when it refuses: an HTTP status and {"error": {"code", "message"}}."""

from __future__ import annotations

from infra.local.state import Json


class ArmError(Exception):
    """A refusal in ARM's shape (learn.microsoft.com: "Troubleshoot common Azure deployment errors" lists the codes)."""

    def __init__(self, status: int, code: str, message: str, *, target: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.headers = headers or {}

    def body(self) -> Json:
        """The error document."""
        error: Json = {"code": self.code, "message": self.message}
        if self.target:
            error["target"] = self.target
        return {"error": error}


def not_found(resource_id: str) -> ArmError:
    """404 for a resource whose group exists."""
    parts = resource_id.strip("/").split("/")
    group, kind = parts[3], "/".join(parts[5:])
    return ArmError(404, "ResourceNotFound", f"The Resource '{kind}' under resource group '{group}' was not found.")


def invalid(message: str, target: str = "") -> ArmError:
    """400 InvalidParameter."""
    return ArmError(400, "InvalidParameter", message, target=target)


def not_allowed(message: str) -> ArmError:
    """409 OperationNotAllowed: right in itself, but not in the state the resource is in."""
    return ArmError(409, "OperationNotAllowed", message)


def not_implemented(method: str, what: str) -> ArmError:
    """501 of the stand-in itself: Azure may well do this, the stand-in does not."""
    return ArmError(501, "NotImplementedByStandIn", f"The stand-in cloud does not implement {method} {what}.")
