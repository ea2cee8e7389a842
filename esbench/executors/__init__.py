"""Executors: they run units one after the other, or on Dask workers."""
