"""`python -m esbench`."""

from esbench.cli import main

main()
