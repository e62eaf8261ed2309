"""`python -m fastgan`."""

import sys

from fastgan.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
