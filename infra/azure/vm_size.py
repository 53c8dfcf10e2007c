"""What the name of a VM size tells.

https://learn.microsoft.com/azure/virtual-machines/vm-naming-conventions: family, sub-family, number of vCPUs, constrained number after a
hyphen, additive features, accelerator, version. https://learn.microsoft.com/azure/virtual-machines/constrained-vcpu: with a constrained
size the second number is what the guest sees.
"""

from __future__ import annotations

import re

from images.errors import ConfigurationError

_SIZE = re.compile(
    r"Standard_(?P<family>[A-Z]+)(?P<vcpus>[1-9]\d*)(?:-(?P<constrained>[1-9]\d*))?[a-z]*(?:_[a-z0-9]+)*?(?:_v(?P<version>\d+))?",
    re.IGNORECASE,
)

# Sizes from before the convention: their number only counts the sizes of a series (D4_v2 has 8 vCPUs, A7 and G4 have others as well).
# https://learn.microsoft.com/azure/virtual-machines/sizes/previous-gen-sizes-list
_COUNTED_BEFORE = {"A": 2, "D": 3, "DS": 3, "G": 99, "GS": 99}
"""Family to the first version whose number is the number of vCPUs; the old G series has none."""


def vcpus_of(size: str) -> int:
    """The vCPUs of a VM size such as Standard_D8s_v5; raises ConfigurationError when its name does not tell."""
    found = _SIZE.fullmatch(size)
    if found is None:
        raise ConfigurationError(
            f"the VM size {size!r} does not follow Azure's naming convention",
            hint="name sizes as `az vm list-skus --resource-type virtualMachines` does, for example Standard_D8s_v5",
        )
    if found["constrained"]:
        return int(found["constrained"])
    # The features tell Standard_D4s_v3 from the old Standard_DS4_v2: there the s stands before the number.
    if int(found["version"] or 1) < _COUNTED_BEFORE.get(found["family"].upper(), 1):
        raise ConfigurationError(
            f"the name of the VM size {size!r} does not tell its vCPUs",
            hint="use a size of a later version, such as Standard_D8s_v5, or leave vcpu_quota out of the profile",
        )
    return int(found["vcpus"])
