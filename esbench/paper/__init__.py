"""The CIFS paper: its tables, figures and search for lam, with our numbers beside the paper's."""
