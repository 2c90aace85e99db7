"""Capture: turns every committed write into a captured row, in the same transaction."""

from __future__ import annotations

from .installing import capture_rows, drift, install, remove

__all__ = ["capture_rows", "drift", "install", "remove"]
