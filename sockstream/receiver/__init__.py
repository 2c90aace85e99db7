"""Central's half: server, sessions, applier."""
