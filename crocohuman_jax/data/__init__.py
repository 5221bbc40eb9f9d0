"""From pictures on disk to batches of numpy arrays."""
