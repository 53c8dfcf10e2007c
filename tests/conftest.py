"""What every test shares: nothing of the user's settings gets in, nothing leaves the test's own folders."""

from __future__ import annotations

import os

# Before anything imports Prefect: its home must not be the user's, and nothing may talk to a server that happens to be configured.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
for name in ("PREFECT_API_URL", "WINVHD_SIGNING_KEY_FILE", "WINVHD_SIGNING_BLOCK"):
    os.environ.pop(name, None)

pytest_plugins = ["tests.standin_fixtures", "tests.private_fixes"]
