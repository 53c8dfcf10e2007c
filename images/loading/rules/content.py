"""Rules about features, capabilities, the container runtime and its images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from images.catalogue import CAPABILITIES, FEATURES, OPENSSH_SERVER, OPTIONAL_FEATURE_NAMES, is_capability
from images.loading.parts import Fault, Parts, Placed
from images.loading.suggestions import did_you_mean

# A SAS signature in the query, or a user's name and password before the host.
_SECRET_IN_URL = re.compile(r"[?&]sig=|://[^/@]+@", re.IGNORECASE)


def content_rules(parts: Parts) -> Iterator[Fault]:
    """Names must be Windows' own; what needs something else must have it; nothing is named twice."""
    yield from _features(parts)
    yield from _capabilities(parts)
    yield from _runtime(parts)
    yield from _secrets(parts)
    yield from twice("container image", parts.images)
    yield from twice("OCI artifact", (Placed((*each.at, "reference"), each.value.reference) for each in parts.oci_artifacts))


def twice(what: str, items: Iterable[Placed[str]]) -> Iterator[Fault]:
    """A fault for each text that was there before, compared without case."""
    seen: dict[str, Placed[str]] = {}
    for item in items:
        first = seen.setdefault(item.value.casefold(), item)
        if first is not item:
            yield Fault(item.at, f'{what} "{item.value}" is there twice', f"the first one is {first.at[0]}[{first.at[1]}]")


def _features(parts: Parts) -> Iterator[Fault]:
    for feature in parts.features:
        name = feature.value
        if name in FEATURES:
            continue
        # DISM's names of features are as common as Install-WindowsFeature's, and refused by it.
        other = OPTIONAL_FEATURE_NAMES.get(name)
        hint = f'that is its name in DISM; Install-WindowsFeature calls it "{other}"' if other else did_you_mean(name, FEATURES)
        yield Fault(feature.at, f'unknown feature "{name}"', hint or "names are those of Get-WindowsFeature")
    yield from twice("feature", parts.features)


def _capabilities(parts: Parts) -> Iterator[Fault]:
    for capability in parts.capabilities:
        if not is_capability(capability.value):
            hint = next((each for each in sorted(CAPABILITIES) if each.split("~", 1)[0].casefold() == capability.value.casefold()), "")
            yield Fault(
                capability.at,
                f'unknown capability "{capability.value}"',
                f'write its full name, "{hint}"' if hint else did_you_mean(capability.value, CAPABILITIES) or "see Get-WindowsCapability",
            )
    yield from twice("capability", parts.capabilities)
    if parts.system.openssh is not None and OPENSSH_SERVER not in {each.value for each in parts.capabilities}:
        yield Fault(("system", "openssh"), "hardening of an OpenSSH server that is not installed", f"add {OPENSSH_SERVER} to capabilities")


def _runtime(parts: Parts) -> Iterator[Fault]:
    if not parts.has("container_runtime"):
        if parts.has("container_images"):
            yield Fault(("container_images",), "container images need a container runtime", "add container_runtime")
        return
    if "Containers" not in {each.value for each in parts.features}:
        yield Fault(("container_runtime",), "containerd needs the Windows feature Containers", "add Containers to features")
    if parts.runtime and not parts.runtime.value.url.split("?", 1)[0].endswith((".tar.gz", ".tgz", ".zip")):
        yield Fault(("container_runtime", "url"), "must be a .tar.gz or .zip archive")


def _secrets(parts: Parts) -> Iterator[Fault]:
    urls = [
        *(Placed((*each.at, "url"), each.value.url) for each in parts.packages),
        *(Placed((*each.at, "url"), each.value.url or "") for each in parts.updates),
    ]
    if parts.runtime:
        urls.append(Placed((*parts.runtime.at, "url"), parts.runtime.value.url))
    for url in urls:
        # The text itself is not repeated: it may end up in a log.
        if _SECRET_IN_URL.search(url.value):
            yield Fault(url.at, "the URL holds a credential", "definitions are public: use private_packages, which names a Secret block")
