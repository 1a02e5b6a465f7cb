"""Read the headers of image files, one module for each format."""
