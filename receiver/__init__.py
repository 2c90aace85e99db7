"""The central site, ready to run. The library's half for central is `sockstream.receiver`."""
