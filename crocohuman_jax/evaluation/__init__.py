"""Measures finished runs by published protocols. The formulas are in `metrics`."""
