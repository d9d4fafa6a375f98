"""One file per way of laying out scans and their masks."""
