"""Connections out: every dialled address is checked."""
