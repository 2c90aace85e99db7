"""A small app whose migrations change tables and write rows in turn."""
