"""The stand-in's outside world: an artifact origin and a container registry with deterministic content."""
