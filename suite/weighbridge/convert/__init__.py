"""From one format to another, and the check that both agree."""
