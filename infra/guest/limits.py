"""How long the link waits for what; one frozen object, so that tests and the stand-in can be in a hurry."""

from __future__ import annotations

from pydantic import Field

from images.frozen import Frozen


class LinkLimits(Frozen):
    """Times in seconds and sizes in bytes that bound everything the link does."""

    connect_s: float = Field(default=10.0, gt=0, description="Bound of one TCP and TLS handshake.")
    operation_s: int = Field(default=20, ge=1, description="How long the guest may hold a request before it answers w:TimedOut.")
    answer_s: int = Field(default=40, ge=2, description="Silence on an open connection after which it counts as lost.")
    reconnect_s: float = Field(default=300.0, ge=0, description="How long a guest that does not answer is asked again.")
    reconnect_pause_s: float = Field(default=0.5, ge=0, description="First pause between two tries; doubles up to 15 s.")
    restart_s: float = Field(default=1800.0, gt=0, description="Bound of a restart, Windows' own servicing at boot included.")
    restart_again_s: float = Field(default=180.0, gt=0, description="A guest that still runs the old boot after this is asked once more.")
    refused_s: float = Field(default=60.0, ge=0, description="A guest that starts may refuse its own account for a moment.")
    ready_pause_s: float = Field(default=3.0, ge=0, description="Pause between two looks at a guest that starts.")
    poll_s: float = Field(default=15.0, gt=0, description="How long one look at a task's output waits for something new.")
    poll_pause_s: float = Field(default=2.0, ge=0, description="Longest pause between two looks: each costs the guest a process.")
    read_bytes: int = Field(default=192 * 1024, ge=1, description="Most bytes of a task's output in one answer.")
    task_starts: int = Field(default=3, ge=1, description="Starts of a task that the guest lost, to a restart for example.")
    task_grace_s: float = Field(
        default=30.0, ge=0, description="A task ends itself at its time limit; we wait this much longer for its words."
    )
    direct_s: int = Field(default=900, description="A stage that may take longer than this runs as a task.")
    direct_attempts: int = Field(default=3, ge=1, description="Tries of a direct stage whose connection is lost: scripts are idempotent.")

    @classmethod
    def paced(cls, poll_interval_s: float, *, restart_s: float, reconnect_s: float) -> LinkLimits:
        """A profile's limits, with pauses of at most its poll_interval_s, which is short where a guest boots in a second."""
        usual = cls()
        return cls(
            restart_s=restart_s,
            reconnect_s=reconnect_s,
            reconnect_pause_s=min(usual.reconnect_pause_s, poll_interval_s),
            ready_pause_s=min(usual.ready_pause_s, poll_interval_s),
            poll_pause_s=min(usual.poll_pause_s, poll_interval_s),
        )
