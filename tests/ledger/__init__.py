"""Models for the histories of tests/integration/applier: captured only where a test says so."""
