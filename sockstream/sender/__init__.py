"""The site's half: capture, sequencer, oplog and link."""
