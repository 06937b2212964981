"""Runs of a native plan on any machine: where things are, loops and branches."""
