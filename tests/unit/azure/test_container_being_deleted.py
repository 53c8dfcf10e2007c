"""A container that is being deleted keeps its name for a while: that is waited for, and it is never taken for one that is there."""

from __future__ import annotations

import pytest

from images.errors import CloudError
from infra.azure.blob_storage import BEING_DELETED, ensure_container
from infra.azure.private_container import contents_of, delete_private_container
from infra.azure.session import Cloud
from tests.unit.azure.conftest import Script


def refuse(script: Script, status: int, code: str) -> None:
    """An answer as the storage service gives it: https://learn.microsoft.com/rest/api/storageservices/delete-container."""
    script.answer(status, x_ms_error_code=code, x_ms_request_id="11112222")


def test_the_name_is_waited_for(script: Script, cloud: Cloud) -> None:
    refuse(script, 409, BEING_DELETED)
    refuse(script, 409, BEING_DELETED)
    script.answer(201)
    ensure_container(cloud, "private-1")
    assert len(script.requests) == 3


def test_one_that_is_there_is_not_waited_for(script: Script, cloud: Cloud) -> None:
    refuse(script, 409, "ContainerAlreadyExists")
    ensure_container(cloud, "private-1")
    assert len(script.requests) == 1


def test_the_wait_has_an_end_and_a_hint(script: Script, cloud: Cloud) -> None:
    refuse(script, 409, BEING_DELETED)
    with pytest.raises(CloudError) as caught:
        ensure_container(cloud, "private-1", patience_s=0.1)
    assert caught.value.code == BEING_DELETED
    assert "free some minutes after" in caught.value.hint


@pytest.mark.parametrize(("status", "code"), [(404, "ContainerNotFound"), (409, BEING_DELETED)])
def test_one_that_is_gone_or_going_is_empty_and_deleted(status: int, code: str, script: Script, cloud: Cloud) -> None:
    refuse(script, status, code)
    assert delete_private_container(cloud, "private-1") is False
    assert contents_of(cloud, "private-1").blobs == 0


def test_a_refusal_to_delete_is_an_error(script: Script, cloud: Cloud) -> None:
    refuse(script, 412, "LeaseIdMissing")
    with pytest.raises(CloudError):
        delete_private_container(cloud, "private-1")
