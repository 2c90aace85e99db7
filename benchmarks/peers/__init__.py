"""Peers: other ways to bring a site's writes to central, each measured by a program of its own.

    python -m benchmarks.peers.NAME --records N [--central sqlite|postgresql]

Each sets up what it needs, lets the site of `benchmarks.workload` write, and measures how long it
takes to drain what was written before. It compares both ends row by row and prints one line of JSON
on stdout: "peer", "versions", "records", "central", "drain_seconds", "rate" (records a second),
"bytes" (as they travel) and a "note" of what was lost or had to be configured. A peer that cannot
be had on this machine prints {"peer": ..., "missing": what is missing and how it is had} and
exits 0.
"""
