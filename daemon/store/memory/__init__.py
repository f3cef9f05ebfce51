"""The store in memory: what the others are compared with."""
