"""Executors: they run units one after the other, several at once, or on Dask workers."""
