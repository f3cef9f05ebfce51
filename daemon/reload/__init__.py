"""What is live, and how it changes while the daemon runs: noticed, built whole, checked whole, swapped."""
