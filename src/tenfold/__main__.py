"""``python -m tenfold`` is the command ``tenfold``."""

from __future__ import annotations

import sys

from tenfold.processes import without_current_folder


def main() -> None:
    """Entry point of ``tenfold``. A Ctrl-C while it loads ends it without a traceback."""
    try:
        from tenfold.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    # A json.py beside the user's tables is not part of this program.
    without_current_folder()
    main()
