"""The store: events, deliveries, and what became of them."""
