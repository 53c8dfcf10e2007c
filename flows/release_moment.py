"""The moment whose updates count: now, or another one that a person asks for by a day or a time."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Annotated

from pydantic import WithJsonSchema

from images.errors import ConfigurationError
from images.updates.patch_week import PACIFIC

_AS_OF = "(20[0-9]{2}-[01][0-9]-[0-3][0-9](T[0-9:.]+(Z|[+-][0-9:]+)?)?)?"
"""Short, since the form shows it to whoever writes something else."""
_LAST_SECOND = time(23, 59, 59, tzinfo=PACIFIC)

AsOf = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{_AS_OF}$"})]
"""A day, a moment or nothing, as text. The form and the API hold it to the pattern (they check no `format`), the run to the calendar."""


def release_moment(as_of: str) -> datetime:
    """The moment that a text means: now for an empty one, the end of that day in Redmond for 2026-08-12, UTC for a time without a zone.

    Raises ConfigurationError for what is no day or moment.
    """
    if not as_of:
        return datetime.now(UTC)
    moment = _parsed(as_of)
    if moment is None:
        raise ConfigurationError(
            f"as_of is neither a day nor a moment: {as_of!r}", hint="give 2026-08-12 or 2026-08-12T10:00:00-07:00, or nothing for now"
        )
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _parsed(as_of: str) -> datetime | None:
    """None for another form, and for a day that no calendar has."""
    if re.fullmatch(_AS_OF, as_of) is None:
        return None
    try:
        return datetime.fromisoformat(as_of) if "T" in as_of else datetime.combine(date.fromisoformat(as_of), _LAST_SECOND)
    except ValueError:
        return None
