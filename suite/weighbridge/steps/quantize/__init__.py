"""Steps that reduce precision. One method family a file."""
