"""A table whose cascade is the database's own: Django does not know of it."""
