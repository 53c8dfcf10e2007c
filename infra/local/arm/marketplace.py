"""Marketplace images: publishers, offers, SKUs and monthly versions of the Windows Server images that builds start from.

The newest versions are those of AgentBaker's windows_settings.json (2026-08) and of aks-engine's 2019 release notes (2023-08); the
versions before them follow the same scheme: build, UBR of that month's update, date YYMMDD.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.local.arm.cloud import Cloud
from infra.local.arm.errors import ArmError
from infra.local.arm.exchange import Answer, Call, Route
from infra.local.state import Json

PUBLISHER = "MicrosoftWindowsServer"
SMALLDISK_GIB = 30
_2019 = ("17763.4131.230303", "17763.4252.230404", "17763.4377.230505", "17763.4645.230707", "17763.4737.230808")
_2022 = ("20348.5256.260609", "20348.5386.260709", "20348.5499.260809")
_2025 = ("26100.32995.260609", "26100.33158.260713", "26100.33296.260809")

SKUS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("WindowsServer", "2019-Datacenter-Core-smalldisk", "V1", _2019),
    ("WindowsServer", "2019-datacenter-core-smalldisk-g2", "V2", _2019),
    ("WindowsServer", "2025-datacenter-core-smalldisk", "V1", _2025),
    ("WindowsServer", "2025-datacenter-core-smalldisk-g2", "V2", _2025),
    ("windowsserver2022", "2022-Datacenter-Core-smalldisk", "V1", _2022),
    ("windowsserver2022", "2022-datacenter-core-smalldisk-g2", "V2", _2022),
)
"""(offer, SKU, Hyper-V generation, versions from old to new)."""

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


def platform_image(publisher: str, offer: str, sku: str, version: str) -> PlatformImage:
    """The image; names are compared without regard to case, `latest` is the newest. Raises ArmError 404 PlatformImageNotFound."""
    found = [image for image in _images() if _same(image, publisher, offer, sku) and version in (image.version, "latest")]
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
        found = sorted((image.version for image in _images() if _same(image, *names)), key=_parts)
        if not found:
            raise ArmError(404, "NotFound", "Artifact: VMImage was not found.")
        newest_first = "desc" in call.query.get("$orderby", "").lower()
        top = int(call.query.get("$top", len(found)))
        return self._names(call, VERSIONS, (found[::-1] if newest_first else found)[:top])

    def _version(self, call: Call) -> Answer:
        names = (call.parameters["publisher"], call.parameters["offer"], call.parameters["sku"])
        try:
            image = platform_image(*names, call.parameters["version"])
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


def _images() -> Iterator[PlatformImage]:
    for offer, sku, generation, versions in SKUS:
        for version in versions:
            yield PlatformImage(PUBLISHER, offer, sku, version, generation)


def _same(image: PlatformImage, publisher: str, offer: str, sku: str) -> bool:
    return (image.publisher.lower(), image.offer.lower(), image.sku.lower()) == (publisher.lower(), offer.lower(), sku.lower())


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
