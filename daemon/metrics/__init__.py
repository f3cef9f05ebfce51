"""What Prometheus may ask: counters that are told, and gauges that are looked at when it asks."""
