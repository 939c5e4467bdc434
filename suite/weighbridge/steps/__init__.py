"""What a recipe does to a model: one kind a folder, one method family a file."""
