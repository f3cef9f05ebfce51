"""Sources: how each system signs, names, and splits what it sends."""
