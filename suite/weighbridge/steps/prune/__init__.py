"""Steps that remove weights. One method family a file."""
