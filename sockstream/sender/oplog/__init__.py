"""The oplog: captured rows get their numbers, and are kept until central has them."""
