"""Heads that predict from the tokens of an encoder or decoder. Their losses are in `tasks`."""
