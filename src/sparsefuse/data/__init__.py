"""Clips on disk in, padded batches out: manifest -> split -> dataset -> batches."""
