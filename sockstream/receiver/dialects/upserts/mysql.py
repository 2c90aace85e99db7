"""MySQL and MariaDB: INSERT IGNORE would hide other errors too, so the portable way it is."""

from __future__ import annotations

from .portable import PortableStatements


class MySQLStatements(PortableStatements):
    """Nothing of its own yet."""
