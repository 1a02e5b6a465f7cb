"""The command `tensorferry`, which `python -m tensorferry` runs, too."""

from tensorferry.early_signals import end_on_signals
from tensorferry.imports import prefer_own_packages


def main() -> None:
    """Run the command line; its end is that of the process."""
    end_on_signals()
    prefer_own_packages()
    from scripts.cli import main as command_line  # noqa: PLC0415 - found only from here on

    command_line(prog_name="tensorferry")


if __name__ == "__main__":
    main()
