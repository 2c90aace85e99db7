"""The certificates of an installation: an authority, those it issued, those it revoked."""
