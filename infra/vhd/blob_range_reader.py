"""Reads a disk that lies in blob storage, or behind any other server of byte ranges, without copying it.

The requests are plain HTTP with a SAS: download_blob of azure-storage-blob 12.31 asks for the whole list of page ranges with every
range of a page blob that it reads (_download.py, _initial_request), which doubles the requests and, on a large disk, the bytes.
"""

from __future__ import annotations

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from images.errors import CloudError
from infra.vhd.range_reader import RangeReader

_ATTEMPTS = 5
_TIMEOUT_S = 60.0
_RETRIED = {408, 429, 500, 502, 503, 504}
# Any version from 2011-08-18 on reads ranges; this one is known to Azurite too.
_API_VERSION = "2021-12-02"
_HINTS = {
    403: "is the SAS still valid, and does it allow reading?",
    404: "is the blob's name right?",
    412: "the blob was changed meanwhile",
}


class _TryAgain(Exception):
    """A failure that another try may not meet; `error` is what to raise when there is no other."""

    def __init__(self, error: CloudError) -> None:
        super().__init__()
        self.error = error


class RangeServer:
    """One URL whose server answers byte ranges, pinned to the entity tag that it has now. Raises CloudError, which never shows the URL."""

    def __init__(self, url: str, *, first_wait_s: float = 0.5) -> None:
        self._url = url
        self._retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=first_wait_s, max=20, jitter=first_wait_s),
            retry=retry_if_exception_type(_TryAgain),
            reraise=True,
        )
        # No proxy of the user's environment leads to this machine itself, where the storage emulator is.
        self._client = httpx.Client(timeout=_TIMEOUT_S, headers={"x-ms-version": _API_VERSION}, mounts={"all://127.0.0.1": None})
        self._etag = ""
        try:
            answer = self._send("HEAD", {})
            self._etag = answer.headers.get("ETag", "")
            self.size = int(answer.headers.get("Content-Length", "0"))
        except BaseException:
            self._client.close()
            raise

    def fetch(self, offset: int, length: int) -> bytes:
        """The bytes of a range."""
        # Range before x-ms-range: every server knows it, and Azure takes it as well.
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        if self._etag:
            headers["If-Match"] = self._etag
        answer = self._send("GET", headers)
        if answer.status_code != 206:
            raise CloudError(
                "the server does not give ranges of the disk, only the whole",
                status=answer.status_code,
                hint="download the disk, and give the file",
            )
        return answer.content

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _send(self, method: str, headers: dict[str, str]) -> httpx.Response:
        try:
            return self._retrying(self._send_once, method, headers)
        except _TryAgain as failure:
            raise failure.error from failure.__cause__

    def _send_once(self, method: str, headers: dict[str, str]) -> httpx.Response:
        try:
            answer = self._client.request(method, self._url, headers=headers)
        except httpx.InvalidURL as error:
            raise CloudError(
                "the address of the disk is no URL", hint="give it as https://account.blob.core.windows.net/container/blob"
            ) from error
        except httpx.HTTPError as error:
            # The name of the error, never its text: that may hold the URL with its SAS.
            reason = CloudError(f"the disk can not be reached: {type(error).__name__}", hint="is the storage account reachable from here?")
            raise _TryAgain(reason) from None
        if answer.is_success:
            return answer
        status = answer.status_code
        code = answer.headers.get("x-ms-error-code", "")
        refusal = CloudError(
            f"the storage refused to read the disk: {code or f'HTTP {status}'}",
            code=code,
            status=status,
            request_id=answer.headers.get("x-ms-request-id", ""),
            hint=_HINTS.get(status, ""),
        )
        raise _TryAgain(refusal) if status in _RETRIED else refusal


def open_blob(url: str, *, first_wait_s: float = 0.5) -> RangeReader:
    """The disk behind a URL, for a blob with its SAS; first_wait_s is the pause before a second try.

    Raises CloudError when the storage refuses, and later, from reading, when the blob changed meanwhile.
    """
    server = RangeServer(url, first_wait_s=first_wait_s)
    return RangeReader(server.fetch, server.size, on_close=server.close)
