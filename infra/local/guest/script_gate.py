"""The gate before every script: it runs only when its syntax tree says that it can do its stage's work on a real machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from images.errors import Problem
from infra.guest.powershell_syntax import MODULE_NAME, check_text

Check = Callable[[str, str, str], list[Problem]]


def _check(name: str, text: str, module_text: str) -> list[Problem]:
    return check_text(name, text, module_text)


class ScriptGate:
    """Remembers its answers by digest: the same script is asked for in every build. Safe to use from any thread."""

    def __init__(self, check: Check = _check) -> None:
        self._check = check
        self._answers: dict[str, tuple[Problem, ...]] = {}
        # The parser is a C library and scripts are few: one check at a time.
        self._lock = threading.Lock()

    def refusal(self, name: str, text: str, module_text: str, *, accept: Callable[[Problem], bool] = lambda _problem: False) -> str:
        """Why the script must not run, one line for each fault that `accept` does not let pass; empty when it may."""
        digest = hashlib.sha256("\0".join((name, text, module_text)).encode()).hexdigest()
        with self._lock:
            if digest not in self._answers:
                problems = self._check(name, text, module_text)
                if module_text:
                    problems += self._check(MODULE_NAME, module_text, module_text)
                self._answers[digest] = tuple(problems)
            problems = [problem for problem in self._answers[digest] if not accept(problem)]
        return "".join(f"{problem}\r\n" for problem in problems)
