"""The service at central."""
