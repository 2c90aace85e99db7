"""Databases: our own tables without Django's compiler, and whether a database is ready."""
