"""The digest of a whole plan: two builds of one digest are the same build."""

from __future__ import annotations

from images.fingerprint import digest
from images.plan import BuildPlan


def plan_digest(plan: BuildPlan) -> str:
    """SHA-256 over the image's name, its layers with the last one, and how it is published and tested.

    A Trusted Launch twin has the same layers as its gen2 image and is another image all the same.
    """
    return digest(
        {
            "image": plan.image,
            "layers": [layer.fingerprint for layer in plan.layers],
            "trusted_launch": plan.base.trusted_launch,
            "e2e_suites": [suite.value for suite in plan.e2e_suites],
        }
    )
