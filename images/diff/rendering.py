"""A difference as text for a terminal, as Markdown for a release page, and as JSON for programs."""

from __future__ import annotations

import json
from typing import Literal, assert_never

from images.diff.difference import Changed, ImageDifference, Named, SectionDifference
from images.diff.listing import SECTIONS, Fields

DiffFormat = Literal["text", "markdown", "json"]
_SHORT_DIGITS = 12
_HASHES = frozenset({"digest", "config", "sha256"})


def render_difference(difference: ImageDifference, style: DiffFormat) -> str:
    """The difference in one of the formats; ends with a line break, and the same difference gives the same bytes."""
    match style:
        case "text":
            return _text(difference)
        case "markdown":
            return _markdown(difference)
        case "json":
            return _json(difference)
        case _:
            assert_never(style)


def _text(difference: ImageDifference) -> str:
    lines = [f"--- {difference.before}", f"+++ {difference.after}"]
    for section in difference.sections:
        lines += ["", f"{SECTIONS[section.section]}: {_counts(section)}"]
        lines += [f"  - {item.name}{_facts(item)}" for item in section.removed]
        lines += [f"  + {item.name}{_facts(item)}" for item in section.added]
        lines += [f"  ~ {item.name}: {_changes(item)}" for item in section.changed]
    if not difference.sections:
        lines += ["", "no differences"]
    if difference.not_compared:
        lines += ["", f"not compared, one side does not tell: {_titles(difference)}"]
    return "\n".join(lines) + "\n"


def _markdown(difference: ImageDifference) -> str:
    lines = [f"# From {_escaped(difference.before)} to {_escaped(difference.after)}", ""]
    if not difference.sections:
        lines += ["No differences.", ""]
    for section in difference.sections:
        lines += [f"## {SECTIONS[section.section]}", "", "| | Name | |", "|---|---|---|"]
        lines += [f"| removed | `{_cell(item.name)}` | {_cell(_facts(item).strip(' ()'))} |" for item in section.removed]
        lines += [f"| added | `{_cell(item.name)}` | {_cell(_facts(item).strip(' ()'))} |" for item in section.added]
        lines += [f"| changed | `{_cell(item.name)}` | {_cell(_changes(item))} |" for item in section.changed]
        lines.append("")
    if difference.not_compared:
        lines += [f"Not compared, because one side does not tell: {_titles(difference)}.", ""]
    return "\n".join(lines)


def _json(difference: ImageDifference) -> str:
    return json.dumps(difference.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def _counts(section: SectionDifference) -> str:
    parts = (("removed", section.removed), ("added", section.added), ("changed", section.changed))
    return ", ".join(f"{len(items)} {word}" for word, items in parts if items)


def _facts(item: Named) -> str:
    fields: Fields = {name: value for name, value in item.fields.items() if value and name != "config"}
    if "size" in fields:
        fields.pop("size in bytes", None)
    return f" ({', '.join(_shown(name, value) for name, value in fields.items())})" if fields else ""


def _shown(name: str, value: str) -> str:
    if name == "size in bytes":
        return f"{value} bytes"
    return _short(value) if name in _HASHES else value


def _changes(item: Changed) -> str:
    return ", ".join(
        f"{'' if name == 'value' else name + ' '}{_change(name, before, after)}" for name, (before, after) in item.fields.items()
    )


def _change(name: str, before: str, after: str) -> str:
    if name in _HASHES:
        before, after = _short(before), _short(after)
    return f"{before or 'none'} → {after or 'none'}"


def _short(value: str) -> str:
    kind, colon, digits = value.rpartition(":")
    return f"{kind}{colon}{digits[:_SHORT_DIGITS]}" if len(digits) > _SHORT_DIGITS else value


def _titles(difference: ImageDifference) -> str:
    return ", ".join(SECTIONS[name] for name in difference.not_compared)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("_", "\\_").replace("*", "\\*")
