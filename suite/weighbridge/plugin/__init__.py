"""pytest's side: hooks, options, items, reporting."""
