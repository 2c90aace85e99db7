"""Measurements: what capture costs, how fast records are applied, how a backlog drains."""
