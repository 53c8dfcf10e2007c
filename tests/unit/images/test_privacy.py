"""Each sign of private work is enough for a refusal, and a refusal names nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from images.definition import ImageDefinition
from images.errors import PrivateImageError
from images.inventory import Inventory, RegistryValue
from images.privacy import (
    MARK_KEY,
    PRESENT_VALUE,
    PUBLIC_SCOPE,
    SCOPE_FIELD,
    Evidence,
    fix_was_present,
    is_private_name,
    is_private_scope,
    mark_of,
    metadata_pairs,
    private_mark_setting,
    refuse_private,
    require_private_place,
    scope_of,
    signs_of_privacy,
)
from tests.standin_fixtures import SMALL
from tests.unit.images.notes.parts import small_inventory

SCOPE = "private-3f0c9a1b22d4"


def marked(name: str = "Scope", data: int | str = SCOPE, path: str = MARK_KEY) -> Inventory:
    found = RegistryValue(path=path, name=name, type="REG_SZ", value=data)
    return small_inventory().model_copy(update={"registry": (found,)})


PUBLIC: dict[str, Any] = {
    "scopes": ("public", ""),
    "names": ("windows-2022", "windows-2022-3f0c9a1b22d4", "builds", "images", "a/unprivate-thing", "my-private-image"),
    "metadata": (("winvhd_source", "disk-1"), (SCOPE_FIELD, "public")),
    "inventory": small_inventory(),
}


def test_public_work_is_let_through() -> None:
    refuse_private("copy a VHD", Evidence(), Evidence(**PUBLIC))


@pytest.mark.parametrize(
    "sign",
    [
        {"plan_private": True},
        {"scopes": ("public", SCOPE)},
        {"scopes": ("somebody-elses",)},
        {"names": (SCOPE,)},
        {"names": ("https://account.blob.core.windows.net/PRIVATE-3f/x.vhd",)},
        {"names": (r"out\private\image.vhd",)},
        {"metadata": ((SCOPE_FIELD, SCOPE),)},
        {"metadata": (("Winvhd_Scope", SCOPE),)},
        {"inventory": marked()},
        {"inventory": marked(name="SCOPE", path=MARK_KEY.upper())},
        {"mark": SCOPE},
    ],
    ids=str,
)
def test_one_sign_is_enough_and_the_refusal_names_nothing(sign: dict[str, Any]) -> None:
    evidence = Evidence(**{**PUBLIC, **sign})
    with pytest.raises(PrivateImageError) as caught:
        refuse_private("copy a VHD", Evidence(**PUBLIC), evidence)
    assert len(signs_of_privacy(evidence)) == 1
    assert "refused to copy a VHD" in str(caught.value)
    assert caught.value.hint
    for secret in ("3f0c9a1b22d4", "3f", "account"):
        assert secret not in str(caught.value)


def test_the_mark_is_found_in_an_inventory() -> None:
    assert mark_of(small_inventory()) is None
    assert mark_of(marked()) == SCOPE
    setting = private_mark_setting(SCOPE)
    assert (setting.path, setting.name, setting.value) == (MARK_KEY, "Scope", SCOPE)


@pytest.mark.parametrize(("data", "known"), [(1, True), (0, False)])
def test_an_inventory_tells_whether_the_base_held_the_fix(data: int, known: bool) -> None:
    assert fix_was_present(marked(name=PRESENT_VALUE, data=data)) is known
    assert fix_was_present(marked()) is None


@pytest.mark.parametrize(("scope", "private"), [("", False), ("public", False), ("private-a", True), ("Public", True), ("x", True)])
def test_only_public_is_public(scope: str, private: bool) -> None:
    assert is_private_scope(scope) is private


@pytest.mark.parametrize(
    ("name", "private"), [("private", True), ("Private-x", True), ("a/private-x/b", True), ("privately", False), ("not-private", False)]
)
def test_a_private_name_begins_with_private(name: str, private: bool) -> None:
    assert is_private_name(name) is private


def test_metadata_of_several_objects_counts_together() -> None:
    assert metadata_pairs(None, {"a": "1"}, {"a": "2"}) == (("a", "1"), ("a", "2"))


def test_results_of_a_private_build_need_a_private_container() -> None:
    require_private_place("public", "builds")
    require_private_place(SCOPE, SCOPE)
    with pytest.raises(PrivateImageError):
        require_private_place(SCOPE, "builds")


def test_an_image_with_private_packages_has_a_scope_that_is_a_container_name() -> None:
    package = {"secret": "tool-url", "destination": "C:\\tools\\", "file_name": "a.zip", "sha256": "0" * 64}
    names = ("a", "windows--2022", "w" * 62, f"{'w' * 61}x")
    scopes = [scope_of(ImageDefinition.model_validate({**SMALL, "name": name, "private_packages": [package]})) for name in names]
    assert len(set(scopes)) == len(names)
    assert all(re.fullmatch(r"private-[a-z0-9]+(-[a-z0-9]+)*", scope) and len(scope) <= 63 for scope in scopes)
    assert scope_of(ImageDefinition.model_validate(SMALL)) == PUBLIC_SCOPE
