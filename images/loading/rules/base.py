"""Rules about the base image and the updates for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from images.catalogue import WINDOWS_BUILDS
from images.definition import Generation
from images.loading.parts import Fault, Parts

_GENERATION_2_SUFFIX = re.compile(r"-(g2|gen2)$", re.IGNORECASE)
_UPDATE_FILE = re.compile(r"\.(msu|cab)$", re.IGNORECASE)


def base_rules(parts: Parts) -> Iterator[Fault]:
    """The generation and the build must be those of the SKU; updates must be for that build."""
    yield from _generation(parts)
    yield from _build(parts)
    yield from _updates(parts)


def _generation(parts: Parts) -> Iterator[Fault]:
    if parts.base is None or parts.base.value.publisher != "MicrosoftWindowsServer":
        return
    base = parts.base.value
    suffixed = _GENERATION_2_SUFFIX.search(base.sku) is not None
    if suffixed and base.generation is Generation.V1:
        yield Fault(("base", "generation"), f'the SKU "{base.sku}" boots by UEFI, but generation is V1', "set generation: V2")
    # Azure Edition SKUs are generation 2 without saying so.
    if not suffixed and base.generation is Generation.V2 and "azure-edition" not in base.sku.lower():
        yield Fault(
            ("base", "generation"), f'the SKU "{base.sku}" boots by BIOS, but generation is V2', f'use the SKU "{base.sku}-g2" or V1'
        )


def _build(parts: Parts) -> Iterator[Fault]:
    if parts.base is None:
        return
    base = parts.base.value
    year = re.match(r"(\d{4})-", base.sku)
    expected = WINDOWS_BUILDS.get(year.group(1)) if year else None
    if expected is not None and base.windows_build is not None and base.windows_build != expected:
        yield Fault(
            ("base", "version"),
            f"{base.version} is not a version of {base.sku}: that is build {expected}",
            f"az vm image list --publisher {base.publisher} --offer {base.offer} --sku {base.sku} --all",
        )


def _updates(parts: Parts) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    build = parts.base.value.windows_build if parts.base else None
    for update in parts.updates:
        kb = update.value.kb
        if kb in seen:
            yield Fault((*update.at, "kb"), f"{kb} is there twice", f"it is already updates[{seen[kb]}]")
        seen.setdefault(kb, int(update.at[-1]))
        url = (update.value.url or "").split("?", 1)[0]
        if url and not _UPDATE_FILE.search(url):
            yield Fault((*update.at, "url"), "an update is an .msu or a .cab file", "copy the link from catalog.update.microsoft.com")
        named = re.search(r"kb\d{6,8}", url.rsplit("/", 1)[-1], re.IGNORECASE)
        if named and named.group().upper() != kb:
            yield Fault((*update.at, "url"), f"the file is {named.group().upper()}, not {kb}", "give every file its own KB number")
        if update.value.build and build and int(update.value.build.split(".")[0]) != build:
            yield Fault((*update.at, "build"), f"{update.value.build} is not a build of this base image ({build})")
