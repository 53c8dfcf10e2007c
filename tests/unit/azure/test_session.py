"""A session makes its clients late and closes them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import SecretStr

from images.errors import CloudError, ConfigurationError
from infra.azure.profile import CloudProfile, StorageAccess
from infra.azure.session import NoCredential, open_cloud

PROFILE = CloudProfile(
    name="azure",
    source_address="127.0.0.1",
    subscription_id="00000000-0000-0000-0000-000000000001",
    location="westus3",
    vm_sizes=("Standard_D4s_v5",),
    arm_endpoint="http://127.0.0.1:9",
    credential="none",
    storage=StorageAccess(account="a", endpoint="http://127.0.0.1:9/a", key=SecretStr("a2V5")),
    poll_interval_s=0.01,
)


def test_opening_a_session_imports_no_sdk() -> None:
    code = (
        "import sys, tests.unit.azure.test_session as t\n"
        "with t.open_cloud(t.PROFILE): pass\n"
        "print(sorted(name for name in sys.modules if name.startswith(('azure.mgmt', 'azure.storage', 'azure.identity'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_clients_are_made_once() -> None:
    with open_cloud(PROFILE) as cloud:
        assert cloud.resources is cloud.resources
        assert cloud.blobs() is cloud.blobs(PROFILE.storage)


def test_a_cloud_without_tokens_refuses_to_be_asked_for_one() -> None:
    with pytest.raises(ConfigurationError, match="credential: none"):
        NoCredential().get_token("https://management.azure.com/.default")


def test_waiting_ends_when_the_session_is_closed() -> None:
    with open_cloud(PROFILE) as cloud:
        wait = cloud.wait
    with pytest.raises(CloudError, match="closed"):
        wait.pause(60)
