"""A managed image for a while: the way to boot a bare VHD."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from images.errors import CloudError
from infra.azure.session import Cloud
from infra.azure.tags import BuildTags

IMAGE_DEADLINE_S = 3600


def make_image(cloud: Cloud, group: str, name: str, vhd_url: str, *, generation: Literal["V1", "V2"], tags: BuildTags) -> str:
    """The id of a managed image made from the VHD in blob storage (same region and subscription, generalized). Raises CloudError."""
    from azure.mgmt.compute.models import Image

    image = Image(
        {
            "location": cloud.profile.location,
            "tags": tags.to_azure(),
            "properties": {
                "hyperVGeneration": generation,
                "storageProfile": {
                    "osDisk": {"osType": "Windows", "osState": "Generalized", "blobUri": vhd_url, "storageAccountType": "Premium_LRS"}
                },
            },
        }
    )
    made = cloud.wait.finish(
        f"make managed image {name}",
        lambda polling: cloud.compute.images.begin_create_or_update(group, name, image, polling=polling),
        deadline_s=IMAGE_DEADLINE_S,
    )
    if not made.id:
        raise CloudError(f"Azure made image {name} without an id", code="NoImageId", hint="run the build again")
    return made.id


def delete_image(cloud: Cloud, group: str, name: str) -> None:
    """Delete a managed image; absent is fine. Raises CloudError."""
    try:
        cloud.wait.finish(
            f"delete managed image {name}",
            lambda polling: cloud.compute.images.begin_delete(group, name, polling=polling),
            deadline_s=IMAGE_DEADLINE_S,
        )
    except CloudError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
