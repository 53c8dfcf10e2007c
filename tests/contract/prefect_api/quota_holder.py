"""A process that takes vCPUs of a quota and keeps them until it is killed; its arguments: name, vCPUs."""

from __future__ import annotations

import sys

from infra.prefect.vcpu_quota import occupied


def main() -> None:
    """Print "taken" once it has them, then wait for the end of stdin."""
    with occupied(sys.argv[1], int(sys.argv[2])):
        print("taken", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
