"""Which stages each layer of an image has, in which order, and what goes into them."""

from images.steps.artifacts import PlannedFile, artifacts_steps, planned_files
from images.steps.finish import RELEASE_NOTES_PATH, finish_steps
from images.steps.fix import fix_steps
from images.steps.runtime import images_steps, runtime_steps
from images.steps.step import Step
from images.steps.system import os_steps

__all__ = [
    "RELEASE_NOTES_PATH",
    "PlannedFile",
    "Step",
    "artifacts_steps",
    "finish_steps",
    "fix_steps",
    "images_steps",
    "os_steps",
    "planned_files",
    "runtime_steps",
]
