"""One file per experiment, with nothing but names and numbers."""
