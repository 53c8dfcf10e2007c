"""What is known of an image, from whatever names it: an inventory, a build's folder, release notes, or a disk."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from images.diff.listing import ImageListing, listing_of_inventory, listing_of_notes
from images.errors import ConfigurationError
from images.inventory import Inventory
from images.published.parser import looks_like_notes, parse_notes
from infra.vhd.inspect import inspect_reader
from tasks.locate_disk import is_remote, open_disk

INVENTORY_FILE = "inventory.json"
_TEXT_SUFFIXES = {".json", ".txt"}
_MAX_TEXT_BYTES = 64 * 2**20


def describe_image(where: str, profile_name: str) -> ImageListing:
    """The listing of an inventory.json, a build's folder, published notes, or a disk, whose cached files are then hashed.

    Raises ConfigurationError, PublishedNotesError, VhdError, CloudError.
    """
    path = Path(where)
    if not is_remote(where):
        if path.is_dir() and (path / INVENTORY_FILE).is_file():
            return _of_text(path / INVENTORY_FILE, path.resolve().name)
        if path.suffix.lower() in _TEXT_SUFFIXES and path.is_file():
            return _of_text(path, path.parent.resolve().name if path.name == INVENTORY_FILE else path.name)
    with open_disk(where, profile_name) as disk:
        found = inspect_reader(disk.reader, hash_files=True, require_footer=disk.require_footer)
    return listing_of_inventory(found.inventory, disk.shown)


def _of_text(path: Path, title: str) -> ImageListing:
    try:
        if path.stat().st_size > _MAX_TEXT_BYTES:
            raise ConfigurationError(
                f"{path} is too large for an inventory or release notes", hint="give a disk as .vhd or .img, a text as .json or .txt"
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} can not be read: {error}", hint="it must be UTF-8 text that this user may read") from error
    if looks_like_notes(text):
        return listing_of_notes(parse_notes(text), title)
    try:
        return listing_of_inventory(Inventory.model_validate_json(text), title)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ConfigurationError(
            f"{path} is neither an inventory nor release notes: {'.'.join(map(str, first['loc']))} {first['msg']}".replace("  ", " "),
            hint="give an inventory.json, a folder below out/, published release notes, or a disk",
        ) from None
