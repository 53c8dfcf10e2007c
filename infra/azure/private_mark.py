"""Whether a VHD in blob storage is private work: by its place, its metadata, its container's metadata, and the mark on the disk in it."""

from __future__ import annotations

from images.errors import CopyError
from images.privacy import Evidence, metadata_pairs, refuse_private
from infra.azure.blob_sas import read_sas
from infra.azure.profile import StorageAccess
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.vhd.blob_range_reader import open_blob
from infra.vhd.errors import VhdError
from infra.vhd.private_mark import private_mark

_SAS_HOURS = 1.0


def refuse_private_blob(action: str, cloud: Cloud, container: str, blob_name: str, *, access: StorageAccess | None = None) -> None:
    """Raises PrivateImageError when a VHD shows any sign of private work; the cheap signs are looked at first.

    Raises CopyError when its disk can not be read, since then nobody can tell, and CloudError.
    """
    with refusals("look at a VHD's metadata"), cloud.blobs(access).get_container_client(container) as place:
        outside = metadata_pairs(place.get_container_properties().metadata, place.get_blob_client(blob_name).get_blob_properties().metadata)
    refuse_private(action, Evidence(names=(container, blob_name), metadata=outside))
    url = read_sas(cloud, container, blob_name, hours=_SAS_HOURS, access=access).get_secret_value()
    try:
        with open_blob(url, first_wait_s=cloud.profile.poll_interval_s) as disk:
            mark = private_mark(disk)
    except VhdError as error:
        raise CopyError(
            f"refused to {action}: whether it is private work can not be read from its disk: {error.what}",
            hint="only an image whose registry can be read is published: build it again",
            where=f"{container}/{blob_name}",
        ) from error
    refuse_private(action, Evidence(mark=mark))
