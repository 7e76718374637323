"""`python -m microbench` is the command `microbench`."""

import sys

from microbench.cli.main import main

sys.exit(main())
