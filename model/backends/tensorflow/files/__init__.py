"""Files as TensorFlow reads them."""
