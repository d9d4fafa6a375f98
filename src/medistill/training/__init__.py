"""The loop, its optimisers, checkpoints and processes."""
