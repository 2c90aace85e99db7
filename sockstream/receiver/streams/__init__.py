"""Streams: who has which one, and its batches' turn in the database."""
