"""Which destination may run how much, and when: concurrency, rate, breaker, slow start, windows, health."""
