"""Models and what runs them: signatures, images, files, threads and engines."""
