"""Serving: sockets, TLS, links, and the pool that the appliers run in."""
