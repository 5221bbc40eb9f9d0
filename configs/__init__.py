"""One file an experiment: only names and numbers."""
