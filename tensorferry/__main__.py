"""The command `tensorferry`, which `python -m tensorferry` also runs."""

from tensorferry.early_signals import end_on_signals
from tensorferry.imports import prefer_own_packages


def main() -> None:
    """Run the command line, then end the process."""
    end_on_signals()
    prefer_own_packages()
    from scripts.cli import main as command_line  # noqa: PLC0415 - needs the finder

    command_line(prog_name="tensorferry")


if __name__ == "__main__":
    main()
