"""The local site, ready to run. The library's half for a site is `sockstream.sender`."""
