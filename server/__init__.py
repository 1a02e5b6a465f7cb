"""HTTP, settings, lifecycle and composition."""
