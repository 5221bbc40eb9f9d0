"""The built-in people: a recording puts figures in motion into scenes and renders them.

Numpy only; nothing here is learned.
"""
