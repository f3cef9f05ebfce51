"""Rule tests: find them, run them offline, and tell what came of it."""
