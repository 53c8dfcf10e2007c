"""The machine model: what Windows remembers on its disk, and what it does when a stage's script runs."""
