"""Measures finished runs by published protocols and compares their results.

`runner` measures any task; what it measures is said by the task, as in `tasks.mesh.evaluation`. The
formulas of errors are in `metrics`; held-out metrics during training are in `training.validation`.
"""
