"""Recognizes and converts files of weights and of body models."""
