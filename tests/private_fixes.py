"""Validations of private fixes as flow runs: the block, the run, and what is left of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from infra.azure.session import Cloud
from infra.azure.tags import SCOPE
from infra.background import BackgroundProcess
from infra.local.origin.private_fixes import fix_body, fix_url
from infra.profiles import load_profile
from tests.faults.conftest import layered
from tests.flow_attempt import Attempt, checkpoints_of, run
from tests.standin_fixtures import write_definition

# Prefect reads its settings when it is first imported, which must not be before the fixtures have made them.
if TYPE_CHECKING:
    from tasks.progress import StepEvent

FIXABLE_LAYERS = ["os", "runtime", "artifacts"]
FIRST_BOOT, NETWORKING = "first-boot", "networking"


@pytest.fixture(scope="session")
def fixable(stand_in: BackgroundProcess, prefect_api: None, workplace: Path) -> str:
    """A definition that was built for the public before: three layers, and the defect that the stand-in's fixes cure."""
    from flows.build_image import build_image

    path = str(write_definition(workplace, **layered("fixable")))
    assert run(build_image, image=path).saved_layers() == FIXABLE_LAYERS
    return path


def keep_fix(path: str, url: str = "", body: bytes | None = None) -> dict[str, Any]:
    """A block with the address of a fix, and the parameters that name it; by default a fix of the stand-in, by its path there."""
    from infra.prefect.private_fix_source import keep_private_fix_url

    content = fix_body(path) if body is None else body
    assert content is not None
    name = path.replace(".", "-").replace("/", "-")
    keep_private_fix_url(name, SecretStr(url or fix_url(path)))
    return {"source": name, "sha256": hashlib.sha256(content).hexdigest(), "kind": path.rpartition(".")[2]}


def keep_package(path: str) -> dict[str, str]:
    """A Secret block with the same kind of address, and the private package of a definition that names it."""
    from prefect.blocks.system import Secret

    content, name = fix_body(path), f"package-{path.replace('.', '-').replace('/', '-')}"
    assert content is not None
    # The worker asks for its size, so the address must be one on this machine.
    Secret(value=load_profile("local").route(fix_url(path))).save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]
    digest = hashlib.sha256(content).hexdigest()
    return {"secret": name, "destination": "C:\\akse-cache\\private\\", "file_name": "package.zip", "sha256": digest}


def ensure_layers(path: str) -> None:
    """Save the layers of the image that was built before again, where a test of the session has deleted the public checkpoints."""
    from flows.build_image import build_image
    from infra.azure.session import open_cloud
    from infra.profiles import load_profile

    with open_cloud(load_profile("local")) as cloud:
        missing = not set(FIXABLE_LAYERS) <= set(checkpoints_of(cloud, "fixable"))
    if missing:
        run(build_image, image=path, rebuild="image")


def validate(image: str, fix: dict[str, Any], on_event: Callable[[StepEvent], None] = lambda _: None, **changes: Any) -> Attempt:
    """The validation of a fix on an image, at its end."""
    from flows.validate_private_fix import validate_private_fix

    if Path(image).stem == "fixable":
        ensure_layers(image)
    return run(validate_private_fix, on_event, **{"image": image, "suites": [FIRST_BOOT, NETWORKING], **fix, **changes})


def scope_of_run(attempt: Attempt) -> str:
    """The scope of a validation, also of one that failed."""
    return f"private-{attempt.flow_run_id.hex[:12]}"


def groups_in(cloud: Cloud, scope: str) -> set[str]:
    """Resource groups of a scope, those of checkpoints too, without those that are being deleted."""
    return {
        group.name or ""
        for group in cloud.resources.resource_groups.list()
        if (group.tags or {}).get(SCOPE) == scope and not (group.properties and group.properties.provisioning_state == "Deleting")
    }


def blob_names(cloud: Cloud, container: str) -> set[str]:
    """What lies in a container; nothing when there is none."""
    from azure.core.exceptions import ResourceNotFoundError

    with cloud.blobs().get_container_client(container) as client:
        try:
            return set(client.list_blob_names())
        except ResourceNotFoundError:
            return set()


def container_names(cloud: Cloud) -> set[str]:
    """All containers of the builds' account."""
    return {container.name for container in cloud.blobs().list_containers()}
