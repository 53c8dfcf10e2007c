"""Documents about a finished image, rendered from its inventory: release notes, bill of materials, publishing info."""
