"""Configuration: hookline.yaml, read, checked, and shown."""
