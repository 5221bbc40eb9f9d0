"""Formulas of losses and errors on arrays, one topic a file. Nothing here reads or writes files."""
