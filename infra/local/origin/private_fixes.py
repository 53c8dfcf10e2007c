"""Private fixes of the stand-in's Internet: `https://privatefixes.example.com/<build>.<UBR>/<effect>.<kind>` behind a read-only SAS.

The effect is what the fix does to the component that infra.local.origin.windows_components follows: `fixed`, `no-effect`, `regression`
(it breaks something else), `contained` (the very file that Windows has at that revision), `rolled-back` (servicing undoes it while Windows
starts) and `installer-fails` (0x800f0922). Kinds: msu, cab, exe (wants /quiet), zip. A body is the same each time, so is its sha256.

`python -m infra.local.origin.private_fixes 20348.5510/fixed.msu` prints an address that is good for a day, and the sha256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, quote, urlencode

from infra.local.origin.archives import make_zip, noise
from infra.local.origin.windows_components import COMPONENT, Component, Signer, defects_of, fixed_component, shipped_component

HOST: Final = "privatefixes.example.com"
UPDATE_MAGIC: Final = b"winvhd stand-in private update\n"
PROGRAM_MAGIC: Final = b"MZ\x90\x00winvhd stand-in private program\n"
REGRESSION: Final = "its gateway has an address"
INSTALLERS_FAILED: Final = 0x800F0922
SHOWN_URL: Final = f"https://{HOST}/"

_PATH = re.compile(r"(17763|20348|26100)\.(\d{1,6})/(fixed|no-effect|regression|contained|rolled-back|installer-fails)\.(msu|cab|exe|zip)")
_KEY = b"the stand-in's account key of its private fixes"
_SIZE = 4096


def fix_body(path: str) -> bytes | None:
    """The body behind a path (without its first slash), None when there is no such fix."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    build, ubr, effect, kind = int(found[1]), int(found[2]), found[3], found[4]
    component = _component(build, ubr, effect, "test" if kind == "zip" and effect != "contained" else "production")
    if kind == "zip":
        return make_zip([(COMPONENT.removeprefix("C:\\").replace("\\", "/"), component.content)])
    about = {
        "kb": f"KB99{int(hashlib.sha256(path.encode()).hexdigest()[:6], 16) % 100000:05d}",
        "build": build,
        "ubr": ubr,
        "files": {COMPONENT: base64.b64encode(component.content).decode()},
        "rolls_back": effect == "rolled-back",
        "fails_with": INSTALLERS_FAILED if effect == "installer-fails" else 0,
    }
    magic = PROGRAM_MAGIC if kind == "exe" else UPDATE_MAGIC
    return magic + json.dumps(about, sort_keys=True).encode() + b"\n" + noise(path, _SIZE)


def _component(build: int, ubr: int, effect: str, signer: Signer) -> Component:
    match effect:
        case "contained":
            return shipped_component(build, ubr)
        case "no-effect":
            # What the newest images of this build have: their defects stay.
            return fixed_component(build, ubr, defects_of(build, ubr), signer)
        case "regression":
            return fixed_component(build, ubr, {REGRESSION}, signer)
        case _:
            return fixed_component(build, ubr, (), signer)


def fix_url(path: str, *, expires: datetime | None = None) -> str:
    """The address of a fix with a read-only SAS of this one blob, good until `expires` (default: a day)."""
    until = (expires or datetime.now(UTC) + timedelta(days=1)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = {"sp": "r", "sr": "b", "se": until}
    return f"https://{HOST}/{quote(path)}?{urlencode({**fields, 'sig': _signature(path, fields)})}"


def refusal(path: str, query: str, now: datetime) -> str:
    """Why a query does not open a path, in the words of Azure's error codes; empty when it does.

    https://learn.microsoft.com/rest/api/storageservices/create-service-sas
    """
    given = {name: values[0] for name, values in parse_qs(query).items()}
    if "sig" not in given:
        return "NoAuthenticationInformation"
    fields = {name: given.get(name, "") for name in ("sp", "sr", "se")}
    if not hmac.compare_digest(given["sig"], _signature(path, fields)):
        return "AuthenticationFailed"
    if now >= datetime.fromisoformat(fields["se"]):
        return "AuthenticationFailed"
    return "" if "r" in fields["sp"] else "AuthorizationPermissionMismatch"


def _signature(path: str, fields: dict[str, str]) -> str:
    text = "\n".join((path, *(fields[name] for name in sorted(fields))))
    return base64.b64encode(hmac.digest(_KEY, text.encode(), "sha256")).decode()


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) == 2 else ""
    body = fix_body(wanted)
    if body is None:
        sys.exit(f"usage: python -m infra.local.origin.private_fixes BUILD.UBR/EFFECT.KIND\n{__doc__}")
    print(fix_url(wanted))
    print(hashlib.sha256(body).hexdigest())
