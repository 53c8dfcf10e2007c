"""The vCPUs of a size come from its name, where the name tells."""

from __future__ import annotations

import pytest

from images.errors import ConfigurationError
from infra.azure.vm_size import vcpus_of


@pytest.mark.parametrize(
    ("size", "vcpus"),
    [
        ("Standard_D4s_v5", 4),
        ("Standard_D8ads_v6", 8),
        ("standard_d16S_V5", 16),
        ("Standard_D2_v3", 2),
        ("Standard_D96ds_v5", 96),
        ("Standard_E8-4s_v5", 4),
        ("Standard_E104is_v5", 104),
        ("Standard_DS13-4_v2", 4),
        ("Standard_A4m_v2", 4),
        ("Standard_B2ms", 2),
        ("Standard_F8s_v2", 8),
        ("Standard_DC8as_cc_v5", 8),
        ("Standard_NC24ads_A100_v4", 24),
        ("Standard_ND128isr_NDR_GB200_v6", 128),
        ("Standard_M416-208s_v2", 208),
        ("Standard_M48s_1_v3", 48),
        ("Standard_HB120-16rs_v3", 16),
    ],
)
def test_the_number_of_the_naming_convention_is_read(size: str, vcpus: int) -> None:
    assert vcpus_of(size) == vcpus


@pytest.mark.parametrize(
    "size", ["Standard_D4_v2", "Standard_DS4_v2", "Standard_D4", "Standard_D4_v2_Promo", "Standard_A7", "Standard_GS5"]
)
def test_sizes_older_than_the_convention_do_not_tell(size: str) -> None:
    with pytest.raises(ConfigurationError, match="does not tell") as caught:
        vcpus_of(size)
    assert "vcpu_quota" in caught.value.hint


@pytest.mark.parametrize(
    "size", ["", "D4s_v5", "Standard_", "Standard_Ds_v5", "Standard_D0s_v5", "Standard_D4s_v5 ", "Basic_A1", "Standard_D4s-v5"]
)
def test_other_names_are_refused(size: str) -> None:
    with pytest.raises(ConfigurationError, match="naming convention") as caught:
        vcpus_of(size)
    assert "Standard_D8s_v5" in caught.value.hint
