"""Sizes of encoders and decoders."""

ENCODERS = {
    "micro": {"width": 128, "depth": 6, "heads": 4},
    "tiny": {"width": 192, "depth": 12, "heads": 3},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
    "large": {"width": 1024, "depth": 24, "heads": 16},
    "huge": {"width": 1280, "depth": 32, "heads": 16},
}
DECODERS = {
    "micro": {"width": 128, "depth": 3, "heads": 4},
    "tiny": {"width": 192, "depth": 4, "heads": 6},
    "small": {"width": 512, "depth": 8, "heads": 16},
    "base": {"width": 768, "depth": 12, "heads": 12},
}
# The default decoder of each encoder: the pairs that were released, and similar ones.
DECODER_OF = {"micro": "micro", "tiny": "tiny", "small": "small"}
DECODER_OF |= {"base": "small", "large": "base", "huge": "base"}
SMALL = ("micro", "tiny")  # for CPUs, with short runs and high learning rates
