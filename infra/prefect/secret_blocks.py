"""Secrets from Prefect's Secret blocks: parameters of a flow are stored in plain text, so they only name the block."""

from __future__ import annotations

from pydantic import SecretStr

from images.errors import ConfigurationError


def secret_block(name: str) -> SecretStr:
    """The content of a Secret block; raises ConfigurationError when there is none of that name, or it is another kind of block."""
    from prefect.blocks.system import Secret

    try:
        # Prefect's own switch for "now, not a coroutine", which its types do not tell.
        block = Secret.load(name, _sync=True)  # type: ignore[call-arg]
    except ValueError:
        raise ConfigurationError(f"there is no Secret block called {name}", hint="make it in the Prefect UI, under Blocks") from None
    if not isinstance(block, Secret):
        raise ConfigurationError(f"the block {name} is a {type(block).__name__}, not a Secret", hint="make a Secret block in its place")
    return SecretStr(str(block.get()))
