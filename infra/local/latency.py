"""How long things take: Azure-like minutes per operation, times one scale; scale 0 (the default) waits for nothing.

The minutes are the order of magnitude seen in public build logs of Windows images (a VM from a marketplace image takes minutes, a
snapshot seconds); they make progress displays and overlapping work behave as on Azure and are no measurement.
"""

from __future__ import annotations

import threading
from pathlib import Path

from pydantic import Field, ValidationError

from images.errors import ConfigurationError
from images.frozen import Frozen

AZURE_MINUTES: dict[str, float] = {
    "vm.create": 2.5,
    "vm.start": 1.0,
    "vm.restart": 1.0,
    "vm.powerOff": 0.7,
    "vm.deallocate": 1.2,
    "vm.delete": 1.0,
    "runCommand": 0.5,
    "disk.create": 0.1,
    "disk.delete": 0.1,
    "disk.beginGetAccess": 0.2,
    "disk.endGetAccess": 0.2,
    "snapshot.create": 0.2,
    "snapshot.delete": 0.1,
    "image.create": 1.5,
    "image.delete": 0.2,
    "network.create": 0.1,
    "network.delete": 0.2,
    "resourceGroup.delete": 1.5,
    "guest.boot": 1.5,
    "guest.services": 0.5,
    "guest.update-defender": 3.0,
    "guest.sysprep": 4.0,
    "guest.update": 12.0,
    "guest.feature": 2.0,
}


class LatencyProfile(Frozen):
    """Minutes per operation and one factor for all of them."""

    scale: float = Field(default=0.0, ge=0, description="0: no waiting; 1: Azure-like minutes; 0.01: a minute becomes 0.6 s.")
    minutes: dict[str, float] = Field(default_factory=dict, description="Replaces single entries of AZURE_MINUTES.")

    def seconds(self, operation: str) -> float:
        """How long an operation is to take, in seconds; 0 for one without an entry."""
        return self.minutes.get(operation, AZURE_MINUTES.get(operation, 0.0)) * 60 * self.scale

    def wait(self, operation: str, stopping: threading.Event | None = None) -> None:
        """Take that long; returns early when `stopping` is set."""
        seconds = self.seconds(operation)
        if seconds > 0:
            (stopping or threading.Event()).wait(seconds)


def load_latency(path: Path) -> LatencyProfile:
    """The profile in a JSON file; raises ConfigurationError when it is missing or wrong."""
    try:
        return LatencyProfile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigurationError(f"the latency profile can not be used: {error}", where=str(path)) from error
