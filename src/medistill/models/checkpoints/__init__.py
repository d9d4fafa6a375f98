"""Released foundation models: one file each, and nothing is loaded but the whole encoder."""
