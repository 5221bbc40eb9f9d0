"""Imports, exports and shares model weights. `safe` reads every file without running its code."""
