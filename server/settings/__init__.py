"""The table of settings, and the sources that settings are read from."""
