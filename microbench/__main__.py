"""`python -m microbench` is the command `microbench`."""

import sys

from microbench.cli import main

sys.exit(main())
