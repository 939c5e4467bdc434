"""Where a case is carried out: here, or in a worker. One way a file."""
