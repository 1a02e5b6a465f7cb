"""What `tensorferry simulate` does: worlds, policies in them, and what came of it."""
