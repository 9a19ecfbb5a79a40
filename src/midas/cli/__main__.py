"""`python -m midas.cli` is the program `midas`."""

import sys

from midas.cli import main

sys.exit(main())
