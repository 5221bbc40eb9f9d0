"""Weights from elsewhere and for elsewhere. Files are never trusted: `safe` reads all of them."""
