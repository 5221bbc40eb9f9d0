"""Reads files of strangers without running anything in them."""
