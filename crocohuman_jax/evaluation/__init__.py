"""Measures finished runs by published protocols and compares their results.

The formulas of errors are in `metrics`; held-out metrics during training are in `training`.
"""
