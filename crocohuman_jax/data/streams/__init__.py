"""Endless streams of training examples: which frames are drawn, how they are cropped and masked."""
