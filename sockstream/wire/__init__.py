"""The protocol between a site and central: bytes, messages and time, but no sockets, no Django."""
