"""Files of models, and what is taken from them."""
