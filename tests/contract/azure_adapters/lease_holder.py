"""A process that takes a lease, described as JSON on stdin, and says for each further line whether it still holds it."""

from __future__ import annotations

import json
import sys

from images.errors import BuildError
from infra.azure.layer_lease import try_acquire
from infra.azure.profile import CloudProfile
from infra.azure.session import open_cloud


def main() -> None:
    """Print "held" or "taken", then for each further line "held" or the error."""
    given = json.loads(sys.stdin.readline())
    with open_cloud(CloudProfile.model_validate(given.pop("profile"))) as cloud:
        lease = try_acquire(cloud, duration_s=15, renew_s=4, **given)
        print("taken" if lease is None else "held", flush=True)
        for _ in sys.stdin:
            try:
                assert lease is not None
                lease.must_be_held()
                print("held", flush=True)
            except BuildError as error:
                print(f"{type(error).__name__}: {error.what}", flush=True)


if __name__ == "__main__":
    main()
