"""Our own types of blocks, for a Prefect server to know: prefect block register --module infra.prefect.block_types."""

from __future__ import annotations

from infra.prefect.git_credentials import GitCredentials
from infra.prefect.private_fix_source import PrivateFixSource

__all__ = ["GitCredentials", "PrivateFixSource"]
