"""Weights of other projects in, ours out; nothing in a file is ever executed."""
