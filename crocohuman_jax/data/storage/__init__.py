"""Stores a prepared folder: frames with an index, labels, ground truth of the built-in people."""
