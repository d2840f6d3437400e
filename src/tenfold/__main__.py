"""``python -m tenfold`` is the command ``tenfold``."""

from tenfold.processes import without_current_folder

if __name__ == "__main__":
    # A json.py beside the user's tables is no part of this program, as it is none of the installed command's.
    without_current_folder()

    from tenfold.cli import main

    main()
