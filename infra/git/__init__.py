"""Lock changes for a repository: as a patch file, and as a branch that a person reviews."""
