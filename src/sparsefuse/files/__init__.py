"""File formats that do not depend on models: atomic writes, references, rows, shards, checkpoints."""
