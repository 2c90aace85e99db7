"""All that differs between databases at central."""
