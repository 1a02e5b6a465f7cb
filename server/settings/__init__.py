"""The table of settings, and the sources that a setting is read from."""
