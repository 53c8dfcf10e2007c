"""ReleaseFacts: everything that the documents of one build are rendered from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydantic import Field

from images.frozen import Frozen
from images.inventory import ContainerImage, Inventory, Qfe
from images.updates.feed import FeedUpdate

PREVIEW_MARK: Final = " (preview)"
"""Behind the description of a QFE that is an optional preview."""


class BuildSource(Frozen):
    """Where a build came from: repository, branch and commit of this checkout."""

    repository: str = ""
    branch: str = ""
    commit: str = ""


class PreviousRelease(Frozen):
    """The release of the same image before this one."""

    version: str
    inventory: Inventory


class ReleaseFacts(Frozen):
    """One build and what is on its image."""

    image: str
    description: str = ""
    build_id: str
    build_number: str = Field(description="YYYYMMDD.NN of the build.")
    image_version: str = Field(description="build.UBR.YYMMDDNN, three int32 as galleries want them.")
    source: BuildSource
    base_urn: str
    generation: str
    trusted_launch: bool
    vhd_url: str = ""
    inventory: Inventory
    previous: PreviousRelease | None = None
    fixes: tuple[FeedUpdate, ...] = Field(default=(), description="Updates that came since the previous release, as the feed tells them.")
    previews: tuple[str, ...] = Field(default=(), description="KBs among the QFEs that are optional previews, not security releases.")

    @property
    def new_kbs(self) -> tuple[str, ...]:
        """KBs that came since the previous release, sorted: its fixes, and QFEs that no feed knows; none for a first release."""
        if self.previous is None:
            return ()
        return tuple(sorted({update.kb for update in self.fixes} | set(self.inventory.kbs_since(self.previous.inventory))))

    def kind_of(self, qfe: Qfe) -> str:
        """What a QFE is, as Windows describes it; a preview is marked as one."""
        return f"{qfe.description}{PREVIEW_MARK}" if qfe.kb in self.previews else qfe.description


def image_version(os_version: str, day: str, count: int) -> str:
    """build.UBR.YYMMDDNN for the count-th build (1–99) of a day given as YYYYMMDD.

    >>> image_version("20348.5499", "20260812", 1)
    '20348.5499.26081201'
    """
    if not 1 <= count <= 99:
        raise ValueError(f"the count of a day's builds must be 1 to 99, not {count}")
    return f"{os_version}.{day[2:]}{count:02d}"


def tagged(images: Iterable[ContainerImage]) -> list[ContainerImage]:
    """The images by tag: containerd also knows each of them by two digests."""
    return [image for image in images if "@" not in image.name and not image.name.startswith("sha256:")]


def human_size(size_bytes: int) -> str:
    """A size as `ctr images list` prints it: one decimal, binary units.

    >>> human_size(113351066)
    '108.1 MiB'
    """
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError
