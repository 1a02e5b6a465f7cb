"""Read the files that models are saved in."""
