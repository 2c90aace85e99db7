"""Roads: batches come in, acks go out; a folder or file for each way."""
