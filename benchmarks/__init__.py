"""Measurements, run by hand: `python -m benchmarks.NAME`. Each prints ratios within one run."""
