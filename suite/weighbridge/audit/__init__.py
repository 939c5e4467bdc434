"""Finished artifacts: looked into, held to a budget, and the record that says what was checked."""
