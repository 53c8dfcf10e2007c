"""Feeds of Windows updates: the MSRC's, a plain file, and the Microsoft Update Catalog for the files themselves."""
