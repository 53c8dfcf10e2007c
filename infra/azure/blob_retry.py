"""The retry policy of blob requests: obeys Retry-After, else backs off exponentially from the profile's own pace."""

from __future__ import annotations

import random
from typing import Any

from azure.storage.blob import ExponentialRetry

RETRIES = 6
BACKOFF_MAX_S = 60.0


class BlobRetry(ExponentialRetry):
    """Like the SDK's policy, but with a first wait below a second and with respect for Retry-After, which the SDK ignores."""

    def __init__(self, first_backoff_s: float) -> None:
        super().__init__(retry_total=RETRIES)
        self.first_backoff_s = first_backoff_s

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Seconds to wait before the next attempt."""
        asked = _retry_after(settings)
        if asked is not None:
            return asked
        backoff = min(BACKOFF_MAX_S, self.first_backoff_s * 2.0 ** (int(settings["count"]) - 1))
        return backoff * random.uniform(0.8, 1.2)  # noqa: S311 - spreads requests, guards nothing


def _retry_after(settings: dict[str, Any]) -> float | None:
    history = settings.get("history") or []
    response = history[-1].http_response if history else None
    asked = response.headers.get("Retry-After") if response is not None else None
    try:
        return max(0.0, float(asked)) if asked else None
    except ValueError:  # a date: rare, and our own pace does as well
        return None
