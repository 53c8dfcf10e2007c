"""An Azure profile that can not be read is explained, whatever is wrong with its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra.profiles import load_profile


def _refusal(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WINVHD_AZURE_PROFILE", str(path))
    with pytest.raises(ConfigurationError) as caught:
        load_profile("azure")
    assert caught.value.hint
    return caught.value.what


def test_no_profile_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no Azure profile" in _refusal(tmp_path / "azure-profile.yaml", monkeypatch)


def test_a_folder_is_no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "can not be read" in _refusal(tmp_path, monkeypatch)


@pytest.mark.parametrize(("content", "what"), [(b"\xff\xfe", "not UTF-8"), (b"a: [", "not YAML"), (b"", "valid dictionary")])
def test_a_file_that_holds_no_profile_is_explained(content: bytes, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "azure-profile.yaml"
    path.write_bytes(content)
    assert what in _refusal(path, monkeypatch)
