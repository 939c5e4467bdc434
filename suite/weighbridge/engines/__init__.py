"""What runs an artifact. One engine a file."""
