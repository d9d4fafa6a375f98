"""One file per way of laying out a folder of images."""
