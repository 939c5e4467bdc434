"""Runs that were kept: what they measured, how that has changed, and what a new run is compared with."""
