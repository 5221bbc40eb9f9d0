"""What `benchmark` measures, one topic a file."""
