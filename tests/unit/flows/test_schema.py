"""`winvhd schema` keeps the published schema in step, and explains why it can not."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import schema as command
from flows.cli.main import app


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "schema" / "image-definition.schema.json"
    monkeypatch.setattr(command, "PUBLISHED", path)
    return path


def test_a_missing_schema_is_reported_and_written(published: Path) -> None:
    missing = CliRunner().invoke(app, ["schema", "--check"])
    assert missing.exit_code == 6
    assert "winvhd schema --write" in missing.stderr
    assert CliRunner().invoke(app, ["schema", "--write"]).exit_code == 0
    assert CliRunner().invoke(app, ["schema", "--check"]).exit_code == 0
    published.write_text("{}")
    assert CliRunner().invoke(app, ["schema", "--check"]).exit_code == 6


@pytest.mark.parametrize("option", ["--check", "--write"])
def test_a_schema_that_can_not_be_opened_is_reported(published: Path, option: str) -> None:
    published.mkdir(parents=True)
    refused = CliRunner().invoke(app, ["schema", option])
    assert refused.exit_code == 6
    assert "hint:" in refused.stderr
