"""Fetching from the Internet: files over HTTPS and content of OCI registries."""
