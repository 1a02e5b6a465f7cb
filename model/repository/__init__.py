"""Models as they lie on disk: which files they are, and what is known of them."""
