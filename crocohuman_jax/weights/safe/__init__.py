"""Reads files from untrusted sources without running any code in them."""
