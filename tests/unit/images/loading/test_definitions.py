"""Finding and loading definitions, and the committed ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from images.definition import FollowedUpdates, ImageDefinition
from images.errors import DefinitionError
from images.loading import (
    REPOSITORY,
    SCHEMA_FILE,
    definition_digest,
    definition_names,
    definition_schema,
    find_definition,
    load_definition,
    read_uploads,
    render_schema,
)

RELEASE_NOTES = REPOSITORY.parent / "shared" / "reference" / "aks-engine" / "release-notes-2019-containerd-17763.4252.230828.txt"


def test_the_committed_definitions_load_and_are_called_like_their_files() -> None:
    assert definition_names() == (
        "windows-2019-containerd",
        "windows-2022-containerd",
        "windows-2022-containerd-gen2",
        "windows-2025",
        "windows-2025-gen2",
        "windows-2025-gen2-tl",
    )
    for name in definition_names():
        assert load_definition(find_definition(name)).name == name


def test_the_2019_image_holds_exactly_the_files_of_its_release_notes() -> None:
    if not RELEASE_NOTES.is_file():
        pytest.skip("the reference release notes are not beside this checkout")
    listed = {line.split(" ")[0].lower() for line in RELEASE_NOTES.read_text("utf-8-sig").splitlines() if line.startswith("c:\\akse-cache")}
    definition = load_definition(find_definition("windows-2019-containerd"))
    assert {package.path.lower() for package in definition.packages} == listed


def test_the_published_schema_is_the_models() -> None:
    assert SCHEMA_FILE.read_text("utf-8") == render_schema(), "run: winvhd schema --write"


def test_the_schema_is_valid_and_accepts_the_committed_definitions() -> None:
    schema = json.loads(json.dumps(definition_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name in definition_names():
        validator.validate(yaml.safe_load(find_definition(name).read_text("utf-8")))
    assert not validator.is_valid({"name": "a"})


def test_a_name_that_does_not_exist_gets_the_nearest_one_and_all_names() -> None:
    with pytest.raises(DefinitionError) as caught:
        find_definition("windows-2022-containered")
    hint = caught.value.problems[0].hint
    assert 'did you mean "windows-2022-containerd"?' in hint
    assert "windows-2025-gen2-tl" in hint


def test_a_definition_can_be_given_as_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\n")
    assert find_definition(str(path)) == path
    with pytest.raises(DefinitionError, match="there is no such file"):
        find_definition(tmp_path / "yours.yaml")
    with pytest.raises(DefinitionError, match=": is a folder"):
        find_definition(tmp_path)


def test_following_updates_counts_in_the_digest_and_not_following_is_as_if_the_field_were_not_there() -> None:
    definition = load_definition(find_definition("windows-2025"))
    content = definition.model_dump(
        mode="json", exclude={"description": True, "follow_updates": True, "registry": {"__all__": {"comment"}}}
    )
    plain = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    digests = {definition_digest(definition.model_copy(update={"follow_updates": follow})) for follow in FollowedUpdates}
    assert definition_digest(definition) == plain
    assert len(digests) == len(FollowedUpdates)


def _with_files(*sources: str) -> ImageDefinition:
    definition = load_definition(find_definition("windows-2025")).model_dump(mode="json")
    files = [{"source": source, "destination": f"C:\\{index}.txt"} for index, source in enumerate(sources)]
    return ImageDefinition.model_validate({**definition, "files": files})


def test_uploads_are_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("grüße", encoding="utf-8")
    assert read_uploads(_with_files("a.txt"), tmp_path) == {"a.txt": "grüße"}


def test_uploads_that_can_not_be_sent_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"a" * (1024 * 1024 + 1))
    with pytest.raises(DefinitionError) as caught:
        read_uploads(_with_files("binary", "large", "absent"), tmp_path)
    assert [problem.file for problem in caught.value.problems] == ["binary", "large", "absent"]
