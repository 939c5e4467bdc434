"""A case is carried out, measured and judged."""
