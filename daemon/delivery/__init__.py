"""Delivery: what is due is claimed, tried, and its outcome recorded; retries, crashes, and the seam to the runner."""
