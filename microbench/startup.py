"""Put the standard library before the working folder, before anything else is imported.

`python -m` puts the working folder first: a user's `statistics.py` or `socket.py` would be imported in place
of the module that was meant, by the command and by its workers. Behind everything else, what lies in that
folder is still found. `sys.argv` begins with "-m" while Python locates the module, and imports this package.
"""

import os
import sys
from contextlib import suppress

with suppress(OSError):  # the working folder may be gone
    if sys.argv[:1] == ["-m"] and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - pathlib comes later
        sys.path.append(sys.path.pop(0))
