"""What is measured on the artifact, and the thresholds that read it. One quantity a file."""
