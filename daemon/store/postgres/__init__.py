"""The store in a PostgreSQL database that several nodes share."""
