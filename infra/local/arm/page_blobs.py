"""Page blobs on Azurite, as ARM uses them: sparse upload of exported disks, sparse download of VHDs, read SAS."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobSasPermissions, BlobType, ContainerClient, generate_blob_sas

from infra.local.arm.errors import ArmError, invalid

EXPORT_ACCOUNT = "mddisks"
EXPORT_CONTAINER = "export"
PAGE = 512
CHUNK_BYTES = 4 * 1024 * 1024
"""Put Page takes at most 4 MiB (learn.microsoft.com, "Put Page")."""


class PageBlobs:
    """Azurite at `endpoint` (http://127.0.0.1:PORT), with its accounts and keys."""

    def __init__(self, endpoint: str, keys: Mapping[str, str]) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._keys = dict(keys)
        self._front = ""
        self._made_in: dict[str, float] = {}

    def behind(self, front: str) -> None:
        """From now on clients name blobs by this address, which leads here."""
        self._front = front.rstrip("/")

    def export(self, vhd: Path, name: str, *, seconds: float = 0.0) -> None:
        """Upload a VHD as a page blob of the export account, sending only the ranges that hold data.

        `seconds` is what writing the VHD took, beyond what was to be waited for anyway.
        """
        begun = time.monotonic()
        container_url = f"{self._endpoint}/{EXPORT_ACCOUNT}/{EXPORT_CONTAINER}"
        with ContainerClient.from_container_url(container_url, credential=self._credential(EXPORT_ACCOUNT)) as container:
            with suppress(ResourceExistsError):
                container.create_container()
            size = vhd.stat().st_size
            with container.get_blob_client(name) as blob, vhd.open("rb") as file:
                blob.create_page_blob(size)
                for start, end in data_ranges(file.fileno(), size):
                    for offset in range(start, end, CHUNK_BYTES):
                        content = os.pread(file.fileno(), min(CHUNK_BYTES, end - offset), offset)
                        blob.upload_page(content, offset=offset, length=len(content))
        self._made_in[f"/{EXPORT_ACCOUNT}/{EXPORT_CONTAINER}/{name}"] = seconds + time.monotonic() - begun

    def read_sas(self, name: str, duration_s: int) -> str:
        """URL of an exported blob that may be read for so long."""
        token = generate_blob_sas(
            EXPORT_ACCOUNT,
            EXPORT_CONTAINER,
            name,
            account_key=self._keys[EXPORT_ACCOUNT],
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(seconds=duration_s),
        )
        return f"{self._endpoint}/{EXPORT_ACCOUNT}/{EXPORT_CONTAINER}/{name}?{token}"

    def remove_export(self, name: str) -> None:
        """Delete an exported blob; its SAS is worth nothing afterwards."""
        url = f"{self._endpoint}/{EXPORT_ACCOUNT}/{EXPORT_CONTAINER}/{name}"
        with BlobClient.from_blob_url(url, credential=self._credential(EXPORT_ACCOUNT)) as blob, suppress(ResourceNotFoundError):
            blob.delete_blob()

    def download(self, url: str, target: Path) -> None:
        """Fetch a VHD from one of the accounts into a sparse file; raises ArmError 400 when it is no page blob or no fixed VHD."""
        with self._open(url) as blob, target.open("wb") as file:
            try:
                properties = blob.get_blob_properties()
                if properties.blob_type != BlobType.PAGEBLOB:
                    raise invalid(f"The source blob {without_token(url)} is not a page blob.", "blobUri")
                file.truncate(properties.size)
                for span in blob.list_page_ranges():
                    if span.cleared or span.start is None or span.end is None:
                        continue
                    for offset in range(span.start, span.end + 1, CHUNK_BYTES):
                        length = min(CHUNK_BYTES, span.end + 1 - offset)
                        file.seek(offset)
                        file.write(blob.download_blob(offset=offset, length=length).readall())
            except HttpResponseError as error:
                code = str(getattr(error, "error_code", None) or "BlobNotAccessible")
                raise invalid(f"The source blob {without_token(url)} can not be read: {code}.", "blobUri") from error
        check_footer(target)

    def made_in(self, path: str) -> float:
        """Seconds that it took to make an exported blob, as /account/container/name; 0.0 when that was told before."""
        return max(0.0, self._made_in.pop(path, 0.0))

    def data_bytes(self, path: str) -> int:
        """How many bytes of a page blob, as /account/container/name, hold data; 0 when it is not there or no page blob."""
        with self._open(self._endpoint + path) as blob:
            try:
                spans = [span for span in blob.list_page_ranges() if not span.cleared]
            except HttpResponseError:
                return 0
        return sum(span.end + 1 - span.start for span in spans if span.start is not None and span.end is not None)

    def _open(self, url: str) -> BlobClient:
        if self._front and url.startswith(f"{self._front}/"):
            url = self._endpoint + url.removeprefix(self._front)
        bare, _, token = url.partition("?")
        account = bare.removeprefix(f"{self._endpoint}/").split("/", 1)[0]
        if not bare.startswith(f"{self._endpoint}/") or account not in self._keys:
            raise invalid(f"The storage account of {without_token(url)} was not found in this subscription.", "blobUri")
        return BlobClient.from_blob_url(url) if token else BlobClient.from_blob_url(url, credential=self._credential(account))

    def _credential(self, account: str) -> dict[str, str]:
        return {"account_name": account, "account_key": self._keys[account]}


def data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the parts of a sparse file that hold data, widened to pages of 512 bytes."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # Only a hole is left.
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield max(position, start // PAGE * PAGE), min(size, -(-end // PAGE) * PAGE)
        position = end


def check_footer(vhd: Path) -> None:
    """Raises ArmError as Azure does for a blob that is not a fixed VHD of whole MiB ("Prepare a Windows VHD to upload to Azure")."""
    size = vhd.stat().st_size
    with vhd.open("rb") as file:
        file.seek(max(0, size - 512))
        footer = file.read(512)
    if not footer.startswith(b"conectix"):
        raise ArmError(400, "InvalidVhd", "The specified cookie value in VHD footer indicates that the disk is not a supported VHD.")
    if int.from_bytes(footer[60:64], "big") != 2:
        raise ArmError(400, "InvalidVhd", "The VHD is not of the fixed type.")
    if (size - 512) % (1024 * 1024):
        raise ArmError(400, "InvalidVhd", f"The VHD's virtual size of {size - 512} bytes is not a whole number of MiB.")


def without_token(url: str) -> str:
    """The URL without its token."""
    return url.partition("?")[0]
