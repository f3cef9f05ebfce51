"""Copies of the store that can be trusted: made, verified, put back, and what can be had of a damaged file."""
