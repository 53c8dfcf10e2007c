"""One finished build of a small image, and what its flow knew of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from images.definition import ImageDefinition
from images.inventory import Inventory
from images.loading import find_definition, load_definition, read_uploads
from images.lock import ImageLock
from images.plan import BuildPlan, make_plan
from infra.azure.profile import CloudProfile
from infra.azure.session import Cloud
from infra.guest.package import guest_scripts
from tasks.resolve_lock import resolve_lock


@dataclass(frozen=True)
class BuiltImage:
    """A build's folder, with what the check of its disk is given."""

    folder: Path
    vhd_url: str
    definition: ImageDefinition
    lock: ImageLock
    plan: BuildPlan
    live: Inventory

    @property
    def vhd(self) -> Path:
        """The captured disk; nobody may change it."""
        return self.folder / "image.vhd"


@pytest.fixture(scope="session")
def finished_builds() -> dict[str, BuiltImage]:
    """Builds that several tests look at."""
    return {}


@pytest.fixture
def built(profile: CloudProfile, cloud: Cloud, define: Callable[..., str], finished_builds: dict[str, BuiltImage]) -> BuiltImage:
    """A finished build of the small definition."""
    if "small" not in finished_builds:
        from flows.build_image import build_image
        from flows.choices import ImageChoice

        name = define(name="inspected", e2e_suites=["first-boot"])
        result = build_image(ImageChoice(name), profile.name)
        file = find_definition(name)
        definition = load_definition(file)
        lock = resolve_lock(definition, file, cloud)
        plan = make_plan(definition, lock, scripts=guest_scripts(), uploads=read_uploads(definition))
        folder = Path(result["folder"])
        live = Inventory.model_validate_json((folder / "inventory.json").read_text(encoding="utf-8"))
        finished_builds["small"] = BuiltImage(folder, result["vhd_url"], definition, lock, plan, live)
    return finished_builds["small"]
