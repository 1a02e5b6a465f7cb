"""The process around the server: command, twistd plugin, signals, log and file descriptors."""
