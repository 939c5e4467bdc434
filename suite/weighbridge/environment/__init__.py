"""What is installed, what the machine is, and how libraries are kept quiet."""
