"""The command `tensorferry`, which `python -m tensorferry` also runs."""

import sys

from tensorferry.broken_imports import explain_import
from tensorferry.early_signals import end_on_signals
from tensorferry.imports import prefer_own_packages


def main() -> None:
    """Run the command line, then end the process; one line explains an import that fails."""
    end_on_signals()
    prefer_own_packages()
    try:
        from scripts.cli import main as command_line  # noqa: PLC0415 - needs the finder

        command_line(prog_name="tensorferry")
    except (ImportError, AttributeError) as error:
        line = explain_import(error)
        if not line:
            raise
        sys.exit(f"tensorferry: {line}")


if __name__ == "__main__":
    main()
