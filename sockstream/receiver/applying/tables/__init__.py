"""What records of rows do to central's tables."""
