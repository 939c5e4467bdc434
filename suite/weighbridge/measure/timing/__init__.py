"""Everything that reads a clock."""
