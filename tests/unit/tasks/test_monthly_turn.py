"""A month's turn is one run's at a time, and a run that lost it knows before it proposes anything."""

from __future__ import annotations

import pytest
from azure.storage.blob import BlobLeaseClient

from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.layer_lease import try_acquire
from infra.azure.session import Cloud
from tasks.monthly_turn import SCOPE, TurnLostError, monthly_turn, turn_digest


def _break_lease(cloud: Cloud, turn: str) -> None:
    """As a person does in the portal, or as it is when the lease ran out while the run was paused."""
    with cloud.blobs().get_blob_client(BUILDS_CONTAINER, f"leases/{SCOPE}/{turn}") as blob:
        BlobLeaseClient(blob).break_lease(lease_break_period=0)


def test_a_turn_is_held_while_nobody_else_had_it(cloud: Cloud) -> None:
    with monthly_turn(cloud, "2026-08", "b-week") as turn:
        assert turn.is_ours
        turn.must_be_held()
        with monthly_turn(cloud, "2026-08", "b-week") as second:
            assert not second.is_ours
            with pytest.raises(TurnLostError, match="does not have the month's turn"):
                second.must_be_held()
        turn.must_be_held()


def test_a_turn_that_another_run_took_is_no_longer_held(cloud: Cloud) -> None:
    digest = turn_digest("2026-09", "preview")
    with monthly_turn(cloud, "2026-09", "preview") as turn:
        _break_lease(cloud, digest)
        other = try_acquire(cloud, scope=SCOPE, fingerprint=digest, holder="another run")
        assert other is not None
        with other:
            with pytest.raises(TurnLostError, match="does not have the month's turn") as caught:
                turn.must_be_held()
            assert "the lease on the turn of 2026-09 preview was lost" in caught.value.what
            assert "layer" not in f"{caught.value.title}: {caught.value}"
            assert "start the run again" in caught.value.hint
            assert "no lock was proposed" in caught.value.kept
            # What is not ours is not given back either.
            other.must_be_held()
