"""Functions as trees of machine operations, for every backend: transcendentals, and what a machine may lack."""
