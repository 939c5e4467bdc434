"""What everybody may know, and what knows nobody: errors, units, statistics, registries, results, data."""
