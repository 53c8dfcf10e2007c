"""The tags every resource of a build carries, so that clean-up needs nobody's memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from images.frozen import Frozen

BUILD_ID = "build_id"
FLOW_RUN_ID = "flow_run_id"
EXPIRES_AT = "expires_at"
CREATED_BY = "created-by"
SCOPE = "scope"
CREATOR = "winvhd"


class BuildTags(Frozen):
    """Who a resource belongs to and until when it may live."""

    build_id: str
    flow_run_id: str = ""
    expires_at: datetime
    scope: str = "public"

    def to_azure(self) -> dict[str, str]:
        """The tags as Azure stores them; times are ISO 8601 in UTC with whole seconds."""
        return {
            BUILD_ID: self.build_id,
            FLOW_RUN_ID: self.flow_run_id,
            EXPIRES_AT: format_time(self.expires_at),
            CREATED_BY: CREATOR,
            SCOPE: self.scope,
        }


def format_time(moment: datetime) -> str:
    """2026-01-31T12:00:00Z; a time without a zone is refused with ValueError, since it means another moment elsewhere."""
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_ours(tags: Mapping[str, str] | None) -> bool:
    """True for what winvhd made."""
    return bool(tags) and (tags or {}).get(CREATED_BY) == CREATOR


def expiry(tags: Mapping[str, str] | None) -> datetime | Literal["unreadable"] | None:
    """When a tagged resource expires; None without the tag, "unreadable" when a person wrote something else into it."""
    text = (tags or {}).get(EXPIRES_AT)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return "unreadable"
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
