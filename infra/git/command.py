"""git as a child process that sees one repository, one credential, and nothing of what is around it."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from images.errors import ConfigurationError, MissingToolError
from infra.redaction import Redactor

TIMEOUT_S: Final = 300.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_KEPT = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSH", "GIT_SSH_COMMAND")


@dataclass(frozen=True)
class GitRemote:
    """A repository elsewhere: its URL without any credential, the token that may push to it, and the branch to start from."""

    url: str
    token: SecretStr
    username: str = "x-access-token"
    base_branch: str = "main"

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError:
            raise ConfigurationError("the repository's URL is malformed", hint="give the repository's https:// address") from None
        if parts.username or parts.password or parts.query:
            raise ConfigurationError(
                "the repository's URL holds a credential", hint="give the URL without it, and the token in its own field of the block"
            )
        if parts.scheme not in ("https", "file") and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ConfigurationError(
                f"a token does not go over {parts.scheme or 'an unknown scheme'}", hint="give the repository's https:// address"
            )


class Git:
    """Runs git in a folder for one remote.

    The token travels in the environment (GIT_CONFIG_COUNT, git 2.31: https://git-scm.com/docs/git-config#ENVIRONMENT) as a header for that
    URL only: never in an argument, a URL, a file, or what git says. Hooks, credential helpers, prompts and redirects are off, and so are
    GIT_DIR and its like, which a caller that runs inside a git hook would hand down.
    """

    def __init__(self, folder: Path, remote: GitRemote) -> None:
        token = remote.token.get_secret_value()
        basic = base64.b64encode(f"{remote.username}:{token}".encode()).decode()
        self._folder = folder
        self._redact = Redactor((token, basic))
        settings = {
            "core.hooksPath": os.devnull,
            "commit.gpgSign": "false",
            "push.gpgSign": "false",
            "credential.helper": "",
            "http.followRedirects": "false",
            "protocol.ext.allow": "never",
        }
        if remote.url.startswith("http"):
            settings[f"http.{remote.url}.extraHeader"] = f"Authorization: Basic {basic}"
        self._environment = _environment(settings)

    def run(self, doing: str, *arguments: str, given: str = "", environment: Mapping[str, str] | None = None) -> str:
        """What git prints, with `given` on its standard input.

        Raises ConfigurationError with git's own words when it fails, and MissingToolError when there is no git.
        """
        done = self._call(arguments, given, environment or {})
        if done.returncode != 0:
            said = self._redact(done.stderr.strip() or done.stdout.strip())[-1000:]
            raise ConfigurationError(
                f"can not {doing}: {said or f'git ended with {done.returncode}'}",
                hint="check the repository, the branch and the rights of the token in the git credentials block",
            )
        return done.stdout.strip()

    def succeeds(self, *arguments: str) -> bool:
        """True when git ends with 0; its words are not kept."""
        return self._call(arguments, "", {}).returncode == 0

    def _call(self, arguments: Sequence[str], given: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(self._folder), *arguments]
        try:
            return subprocess.run(
                command,
                env={**self._environment, **environment},
                input=given,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError:
            raise MissingToolError("git is not installed", hint="apt-get install git") from None
        except subprocess.TimeoutExpired:
            raise ConfigurationError(
                f"git {arguments[0]} took longer than {TIMEOUT_S:.0f} s", hint="does this machine reach the repository?"
            ) from None


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    numbered = {
        name: text
        for number, (key, value) in enumerate(settings.items())
        for name, text in ((f"GIT_CONFIG_KEY_{number}", key), (f"GIT_CONFIG_VALUE_{number}", value))
    }
    # C: what git says is read by people here and by nobody's locale.
    return {**kept, **numbered, "GIT_CONFIG_COUNT": str(len(settings)), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
