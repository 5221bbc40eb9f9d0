"""Makes a prepared folder: crops people out of a dataset's pictures and writes them in shards."""
