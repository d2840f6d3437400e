"""``python -m tenfold`` is the command ``tenfold``."""

from __future__ import annotations

import sys

from tenfold.processes import without_current_folder


def main() -> None:
    """Entry point of ``tenfold``: a Ctrl-C while it still loads ends it as quietly as a later one."""
    try:
        from tenfold.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    # A json.py beside the user's tables is no part of this program, as it is none of the installed command's.
    without_current_folder()
    main()
