"""An app whose site writes wide rows in long transactions; see `workload`."""
