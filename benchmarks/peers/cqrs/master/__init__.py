"""The service at the site."""
