"""What a Windows engineer would object to although every single field is well formed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from images.loading.parts import Fault, Parts
from images.loading.rules.base import base_rules
from images.loading.rules.content import content_rules
from images.loading.rules.paths import path_rules
from images.loading.rules.settings import setting_rules
from images.loading.rules.whole import whole_rules

RULES: tuple[Callable[[Parts], Iterator[Fault]], ...] = (whole_rules, base_rules, content_rules, path_rules, setting_rules)
