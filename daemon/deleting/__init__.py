"""Deletion for good: what is meant, and the work itself, which goes on until nothing is left."""
