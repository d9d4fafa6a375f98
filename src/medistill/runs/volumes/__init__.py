"""What the verbs do with volumes: the same as with images, patch by patch."""
