"""What every test shares: nothing of the user's settings gets in, nothing leaves the test's own folders."""

from __future__ import annotations

import os

# Before anything imports Prefect: its home must not be the user's, and nothing may talk to a server that happens to be configured.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ.pop("PREFECT_API_URL", None)

pytest_plugins = ["tests.standin_fixtures"]
