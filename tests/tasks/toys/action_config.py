"""The config of the task `action`: all of pre-training's, but for its decoder, loss and data."""

from configs import pretrain


def get_config(arg=None):
    """Returns the config; `arg` is as in configs/pretrain.py."""
    config = pretrain.get_config(arg).unlock()
    config.task = "action"
    config.actions = ("palm", "peace", "fist")
    config.model.image = (96, 96)
    config.data = {"folders": "", "threads": 0, "prefetch": 8}
    return config.lock()
