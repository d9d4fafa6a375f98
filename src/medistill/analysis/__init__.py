"""What a network costs and what it looks at."""
