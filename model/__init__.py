"""What runs on the accelerator: signatures, preprocessing, staging, model threads."""
