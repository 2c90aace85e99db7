"""manage.py oplog_status [--json]: how the streams stand, at whichever end this is."""

from __future__ import annotations

from sockstream.status import StatusCommand as Command  # noqa: F401
