"""`python -m esbench`."""

import os
import sys

# Python puts the current directory first, and a folder of pictures may hold a file that is called like a module.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from esbench.cli import main

main()
