"""Multi-row statements, one file a dialect."""

from __future__ import annotations

from .base import Shape as Shape
from .base import Statements as Statements
