"""What a run looks like: tables, pictures and curves."""
