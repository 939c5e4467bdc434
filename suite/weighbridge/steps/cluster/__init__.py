"""Steps that make weights share a few values."""
