"""What the page of a segmentation run shows: slices, spreads over cases, volumes that agree."""
