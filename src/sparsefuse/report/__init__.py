"""Run folders in, tables, charts and pages out."""
