"""Applying: from batches to rows and offset, in one transaction."""
