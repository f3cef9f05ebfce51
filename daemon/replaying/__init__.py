"""Asking again: which deliveries, by which rules, spread over time."""
