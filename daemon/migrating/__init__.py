"""Moving everything from a SQLite file into a PostgreSQL database."""
