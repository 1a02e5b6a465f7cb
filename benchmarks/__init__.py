"""Programs that measure this server.  They run from a clone and are in no wheel; see README.md."""
