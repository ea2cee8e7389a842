"""Reports of a run: tables, pictures and curves."""
