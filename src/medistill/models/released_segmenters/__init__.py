"""Released segmenters: one file each, their keys beside the networks of `segmenters`."""
