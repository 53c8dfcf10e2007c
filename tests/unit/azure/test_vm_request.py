"""What Azure is asked for when a VM is made."""

from __future__ import annotations

import string
from typing import Any

import pytest
from pydantic import SecretStr

from images.errors import ConfigurationError
from infra.azure.build_vm import vm_properties
from infra.azure.resource_group import group_name
from infra.azure.vm_request import BuildVm, ExistingDisk, MarketplaceImage, VmRequest, VmSource, computer_name, new_admin_password

BASE = MarketplaceImage("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-core-smalldisk", "20348.2762.241006")


def _properties(source: VmSource = BASE, *, password: SecretStr | None = None, **changes: object) -> dict[str, Any]:
    fields: dict[str, object] = {"source": source, "generation": "V2", "os_disk_gib": 50, "winrm_port": 5986}
    request = VmRequest(**(fields | changes))  # type: ignore[arg-type]
    return vm_properties(request, source, "nic", "size", password, build_id="b1")


def test_generation_2_is_standard_unless_trusted_launch_is_asked_for() -> None:
    plain = _properties(password=new_admin_password())
    assert plain["securityProfile"] == {"securityType": "Standard"}
    trusted = _properties(trusted_launch=True, password=new_admin_password())
    assert trusted["securityProfile"]["securityType"] == "TrustedLaunch"
    assert trusted["securityProfile"]["uefiSettings"] == {"secureBootEnabled": True, "vTpmEnabled": True}
    assert "securityProfile" not in _properties(generation="V1", password=new_admin_password())


def test_existing_disk_is_attached_without_os_profile_and_outlives_the_vm() -> None:
    properties = _properties(ExistingDisk("/subscriptions/s/disks/ckpt"))
    assert "osProfile" not in properties
    disk = properties["storageProfile"]["osDisk"]
    assert (disk["createOption"], disk["deleteOption"], disk["name"]) == ("Attach", "Detach", "ckpt")
    assert "imageReference" not in properties["storageProfile"]


def test_disk_from_an_image_has_name_and_size_and_goes_with_the_vm() -> None:
    disk = _properties(password=new_admin_password())["storageProfile"]["osDisk"]
    assert (disk["name"], disk["diskSizeGB"], disk["deleteOption"]) == ("build-os", 50, "Delete")


def test_boot_diagnostics_and_automatic_updates_are_off() -> None:
    properties = _properties(password=new_admin_password())
    assert properties["diagnosticsProfile"]["bootDiagnostics"]["enabled"] is False
    assert properties["osProfile"]["windowsConfiguration"]["enableAutomaticUpdates"] is False


def test_latest_never_reaches_azure() -> None:
    with pytest.raises(ConfigurationError):
        _properties(MarketplaceImage("p", "o", "s", "latest"))


def test_passwords_have_all_classes_and_never_repeat() -> None:
    made = {new_admin_password().get_secret_value() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        assert 12 <= len(password) <= 123
        for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits, "-_.+=@"):
            assert set(password) & set(kind)


def test_password_is_not_in_the_text_of_a_vm() -> None:
    password = new_admin_password()
    vm = BuildVm("rg", "build", "id", "disk", "diskid", "nsg", "1.2.3.4", "size", None, "build", 5986, password)
    assert password.get_secret_value() not in repr(vm)
    assert "admin_password" not in repr(vm)


def test_computer_name_fits_netbios() -> None:
    name = computer_name("build", "6f9619ff-8b86-d011-b42d-00c04fc964ff")
    assert name == "build6f9619ff8b"
    assert len(name) == 15


@pytest.mark.parametrize("build_id", ["a" * 90, "trailing.", "sla/sh", "spa ce", "ünicode"])
def test_names_that_azure_refuses_are_refused_before(build_id: str) -> None:
    with pytest.raises(ConfigurationError, match="resource group"):
        group_name("winvhd", build_id)


def test_resource_group_is_prefix_and_build_id() -> None:
    assert group_name("winvhd", "b-1") == "winvhd-b-1"
