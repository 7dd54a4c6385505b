"""What lies on disk, knowing no model: whole files, references, rows, shards, checkpoints."""
