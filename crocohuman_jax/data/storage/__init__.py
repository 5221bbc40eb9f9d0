"""A prepared folder on disk: frames and their index, labels, ground truth of built-in people."""
