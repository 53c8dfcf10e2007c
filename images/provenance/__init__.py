"""provenance.json: what a build made, from what, and how — an in-toto statement with SLSA's predicate."""
