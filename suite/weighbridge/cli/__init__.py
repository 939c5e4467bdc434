"""The `weighbridge` command, one verb a file."""
