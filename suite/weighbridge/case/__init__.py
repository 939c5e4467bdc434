"""A case file: YAML text, its marks, and the validated `Case`."""
