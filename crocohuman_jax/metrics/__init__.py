"""Formulas of losses and errors on arrays, one topic per file, without reading or writing files."""
