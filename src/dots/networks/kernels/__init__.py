"""The fast kernels."""
