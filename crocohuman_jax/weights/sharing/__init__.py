"""Reads, writes and uploads folders of finished models, with model cards and receipts."""
