"""Models of every shape that a Django application may have."""
