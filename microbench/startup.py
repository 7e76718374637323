"""Move the working folder behind the standard library before anything else is imported.

`python -m` puts the working folder first: the command and its workers would import a user's `statistics.py`
or `socket.py` instead of the standard module. At the end of the path, modules in that folder are still found.
`sys.argv` begins with "-m" while Python locates the module and imports this package.
"""

import os
import sys
from contextlib import suppress

with suppress(OSError):  # the working folder may be gone
    if sys.argv[:1] == ["-m"] and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - pathlib comes later
        sys.path.append(sys.path.pop(0))
