"""Workers, the registries that they announce themselves to, and what these store of them."""
