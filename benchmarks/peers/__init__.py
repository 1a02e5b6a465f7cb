"""Compare this server with other servers on one machine; see README.md beside this file."""
