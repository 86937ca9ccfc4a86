"""The command `dots`, and `python -m dots`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line: exit status 2 for a user's mistake, 128 + n after signal n."""
    from dots.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
