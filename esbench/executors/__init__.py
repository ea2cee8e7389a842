"""Where units run: one after the other, or on Dask workers."""
