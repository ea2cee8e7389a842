"""The CIFS paper: its tables, figures and lambda search, our numbers beside its own."""
