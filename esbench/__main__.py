"""`python -m esbench`."""

import os
import sys

# Python puts the current directory first, and a folder of pictures may contain a file with the name of a module.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from esbench.cli import main

main()
