"""Studies: what is trained next, for how long, and what came of it."""
