"""What happens now, told to whoever listens."""
