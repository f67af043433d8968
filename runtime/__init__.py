"""Modules that run: artifact files, weights, calling."""
