"""What happened in each of the last minutes, counted in memory and noted in the store."""
