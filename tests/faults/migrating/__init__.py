"""The polls with one more migration, which rebuilds a table before and after it writes rows."""
