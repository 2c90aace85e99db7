"""Models with the fields that only PostgreSQL has."""
