"""Marketplace images: publishers, offers, SKUs and monthly versions of the Windows Server images that builds start from.

A version is build, UBR of that month's update, and a date YYMMDD; the versions follow the stand-in's calendar of updates, and on a
pretended day only those are there that were published by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from infra.local.arm.cloud import Cloud
from infra.local.arm.errors import ArmError
from infra.local.arm.exchange import Answer, Call, Route
from infra.local.origin.update_calendar import image_versions
from infra.local.state import Json

PUBLISHER = "MicrosoftWindowsServer"
SMALLDISK_GIB = 30

SKUS: tuple[tuple[str, str, str, int], ...] = (
    ("WindowsServer", "2019-Datacenter-Core-smalldisk", "V1", 17763),
    ("WindowsServer", "2019-datacenter-core-smalldisk-g2", "V2", 17763),
    ("WindowsServer", "2025-datacenter-core-smalldisk", "V1", 26100),
    ("WindowsServer", "2025-datacenter-core-smalldisk-g2", "V2", 26100),
    ("windowsserver2022", "2022-Datacenter-Core-smalldisk", "V1", 20348),
    ("windowsserver2022", "2022-datacenter-core-smalldisk-g2", "V2", 20348),
)
"""(offer, SKU, Hyper-V generation, Windows build)."""

PUBLISHERS = "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/publishers"
OFFERS = f"{PUBLISHERS}/{{publisher}}/artifacttypes/vmimage/offers"
VERSIONS = f"{OFFERS}/{{offer}}/skus/{{sku}}/versions"


@dataclass(frozen=True)
class PlatformImage:
    """One exact marketplace version."""

    publisher: str
    offer: str
    sku: str
    version: str
    generation: str
    size_gib: int = SMALLDISK_GIB


def platform_image(publisher: str, offer: str, sku: str, version: str, day: date | None = None) -> PlatformImage:
    """The image, when it is there on a day (None: the last one); names are compared without regard to case, `latest` is the newest.

    Raises ArmError 404 PlatformImageNotFound.
    """
    found = [image for image in _images(day) if _same(image, publisher, offer, sku) and version in (image.version, "latest")]
    if not found:
        raise ArmError(
            404,
            "PlatformImageNotFound",
            f"The platform image '{publisher}:{offer}:{sku}:{version}' is not available. "
            "Verify that all fields in the storage profile are correct.",
            target="imageReference",
        )
    return max(found, key=lambda image: _parts(image.version))


class Marketplace:
    """The read-only lists below Microsoft.Compute/locations/…/publishers."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Lists of publishers, offers, SKUs, versions, and one version."""
        return [
            Route("GET", PUBLISHERS, lambda call: self._names(call, PUBLISHERS, [PUBLISHER])),
            Route("GET", OFFERS, self._offers),
            Route("GET", f"{OFFERS}/{{offer}}/skus", self._skus),
            Route("GET", VERSIONS, self._versions),
            Route("GET", f"{VERSIONS}/{{version}}", self._version),
        ]

    def _offers(self, call: Call) -> Answer:
        return self._names(call, OFFERS, [offer for offer, *_ in SKUS if call.parameters["publisher"].lower() == PUBLISHER.lower()])

    def _skus(self, call: Call) -> Answer:
        wanted = call.parameters["offer"].lower()
        return self._names(call, f"{OFFERS}/{{offer}}/skus", [sku for offer, sku, *_ in SKUS if offer.lower() == wanted])

    def _versions(self, call: Call) -> Answer:
        names = (call.parameters["publisher"], call.parameters["offer"], call.parameters["sku"])
        found = sorted((image.version for image in _images(self._cloud.today.day) if _same(image, *names)), key=_parts)
        if not found:
            raise ArmError(404, "NotFound", "Artifact: VMImage was not found.")
        newest_first = "desc" in call.query.get("$orderby", "").lower()
        top = int(call.query.get("$top", len(found)))
        return self._names(call, VERSIONS, (found[::-1] if newest_first else found)[:top])

    def _version(self, call: Call) -> Answer:
        names = (call.parameters["publisher"], call.parameters["offer"], call.parameters["sku"])
        try:
            image = platform_image(*names, call.parameters["version"], self._cloud.today.day)
        except ArmError as error:
            raise ArmError(404, "NotFound", "Artifact: VMImage was not found.") from error
        body: Json = {
            "id": f"{VERSIONS.format(**call.parameters)}/{image.version}",
            "name": image.version,
            "location": call.parameters["location"],
            "properties": {
                "hyperVGeneration": image.generation,
                "osDiskImage": {"operatingSystem": "Windows", "sizeInGb": image.size_gib},
                "dataDiskImages": [],
                "architecture": "x64",
                "automaticOSUpgradeProperties": {"automaticOSUpgradeSupported": True},
            },
        }
        return Answer(200, body)

    def _names(self, call: Call, template: str, names: list[str]) -> Answer:
        base, location = template.format(**call.parameters), call.parameters["location"]
        # These lists are bare arrays in ARM, unlike all others.
        return Answer(200, [{"id": f"{base}/{name}", "name": name, "location": location} for name in dict.fromkeys(names)])


def _images(day: date | None) -> Iterator[PlatformImage]:
    for offer, sku, generation, build in SKUS:
        for update in image_versions(build):
            if update.image_version is not None and (day is None or update.image_released <= day):
                yield PlatformImage(PUBLISHER, offer, sku, update.image_version, generation)


def _same(image: PlatformImage, publisher: str, offer: str, sku: str) -> bool:
    return (image.publisher.lower(), image.offer.lower(), image.sku.lower()) == (publisher.lower(), offer.lower(), sku.lower())


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
