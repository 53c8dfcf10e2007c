"""A feed of updates in a plain YAML or JSON file; docs/update-feed.md shows one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from images.errors import DefinitionError, Problem
from images.frozen import Frozen
from images.loading.document import Document, read_document
from images.loading.words import problems_of
from images.updates.feed import FeedUpdate
from images.updates.merging import merge_updates

_FORM = "docs/update-feed.md shows the form of a feed file"


class FeedFile(Frozen):
    """What the file holds."""

    schema_version: Literal[1] = Field(description="Version of this form: 1.")
    updates: tuple[FeedUpdate, ...] = Field(description="The updates, in any order; a KB for several builds once for each.")


def read_feed_file(path: Path) -> tuple[FeedUpdate, ...]:
    """The updates in a file; DefinitionError with all of its faults, each with its line, in the order of the file."""
    document = read_document(path)
    problems = list(document.problems)
    feed = None
    try:
        # JSON mode is strict about types and still takes lists for tuples, and text for enums and dates.
        feed = FeedFile.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        problems.extend(replace(problem, hint=problem.hint or _FORM) for problem in problems_of(error, document, FeedFile))
    if feed is not None:
        problems.extend(_contradictions(feed, document))
    if problems or feed is None:
        raise DefinitionError(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))
    return merge_updates(feed.updates)


def _contradictions(feed: FeedFile, document: Document) -> Iterator[Problem]:
    seen: dict[tuple[str, int], int] = {}
    for number, update in enumerate(feed.updates):
        key = (update.kb, update.windows_build)
        if key in seen:
            hint = f"it is already updates[{seen[key]}]"
            yield document.problem(("updates", number, "kb"), f"{update.kb} for {update.windows_build} is there twice", hint)
        seen.setdefault(key, number)
        if update.kb in update.supersedes:
            yield document.problem(("updates", number, "supersedes"), f"{update.kb} can not replace itself", "name the ones before it")
        if update.cumulative and update.fixed_build is None:
            hint = "for example 20348.5499: build.UBR that Windows reports afterwards"
            yield document.problem(("updates", number), f"a {update.kind} update needs fixed_build", hint)
        if update.sha256 is not None and update.url is None:
            yield document.problem(("updates", number, "sha256"), "a hash without url", "give the url of the file that it belongs to")
