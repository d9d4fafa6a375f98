"""What a verb does: a recipe and a folder in, a folder out."""
