"""Folders of finished models: their files, cards, provenance, and the Hugging Face hub."""
