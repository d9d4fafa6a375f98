"""Small trained parts inside frozen foundation models, one kind a file."""
