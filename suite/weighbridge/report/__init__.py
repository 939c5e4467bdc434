"""How a run is shown. One format a file."""
