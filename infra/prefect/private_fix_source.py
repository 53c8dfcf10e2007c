"""PrivateFixSource: the block that holds the address of one private fix. A flow's parameter names the block, never the address.

A type of its own, so that a run can open no other secret of the server by naming it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from images.errors import ConfigurationError
from images.private_fix import sas_problem


class PrivateFixSource(Block):
    """Where a private Windows fix can be read, with a SAS of one blob, read-only, for some hours."""

    _block_type_name = "Private fix source"
    _block_type_slug = "private-fix-source"
    _description = "Where a private Windows fix can be read: a read-only SAS of one blob. Only validate-private-fix opens it."

    # No validator: pydantic would show the address in the text of its error.
    url: SecretStr = Field(description="URL of the blob with a SAS: one blob (sr=b), read-only (sp=r), good for some hours.")
    note: str = Field(default="", description="What the person who made it wants to remember. Not secret, and not copied anywhere.")


_HINT = "make a block of the type `Private fix source` in the Prefect UI, under Blocks, and give its name"


def keep_private_fix_url(block_name: str, url: SecretStr) -> None:
    """Save an address as a PrivateFixSource block, in the place of one of that name."""
    PrivateFixSource(url=url).save(block_name, overwrite=True, _sync=True)  # type: ignore[call-arg]


def private_fix_url(block_name: str, *, now: datetime | None = None) -> SecretStr:
    """The address in a PrivateFixSource block.

    Raises ConfigurationError when there is no such block (one of another type does not count), or when its URL is no usable SAS; no text
    shows the URL.
    """
    try:
        # Prefect's own switch for "now, not a coroutine", which its types do not tell.
        block = PrivateFixSource.load(block_name, validate=False, _sync=True)  # type: ignore[call-arg]
    except ValueError:
        raise ConfigurationError(f"there is no PrivateFixSource block called {block_name!r}", hint=_HINT) from None
    url = getattr(block, "url", None)
    if not isinstance(url, SecretStr):
        raise ConfigurationError(f"the PrivateFixSource block {block_name!r} holds no URL", hint=_HINT)
    problem = sas_problem(url.get_secret_value(), now or datetime.now(UTC))
    if problem:
        raise ConfigurationError(
            f"the URL in the PrivateFixSource block {block_name!r} can not be used: {problem}",
            hint="make a new SAS for the blob (read only, some hours) and save it in the block",
        )
    return url
