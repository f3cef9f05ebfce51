"""What rules would do, without anything being sent: for explain, test, diff, check, and fixtures made of events."""
