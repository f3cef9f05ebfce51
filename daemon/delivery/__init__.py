"""Delivery: lanes, retries, and the runner of actions."""
