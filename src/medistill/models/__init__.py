"""Images to outputs."""
