"""From a model and its data to a case: recipes that are tried, the best of them, and limits with a margin."""
