"""Makes streams of training examples: chooses frames, and crops, augments and masks them."""
