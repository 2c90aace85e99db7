"""Carry every committed write of a Django site to central, in order, exactly once, over TLS."""

__version__ = "0.1.0"
