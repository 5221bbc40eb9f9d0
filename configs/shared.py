"""The parts that all configs have: model, optimizer, and how a run is computed, saved and reported.

Each function returns a part with the settings that do not depend on the task; its arguments change
or add settings.
"""

import ml_collections

from configs import variants
from crocohuman_jax.configuration import options


def sizes(arg):
    """Returns the sizes of encoder and decoder, and whether the variant is for CPUs."""
    encoder = options.choose("variant", variants.ENCODERS, arg.variant, or_switch="debug")
    decoder = options.choose(
        "decoder", variants.DECODERS, arg.decoder or variants.DECODER_OF[arg.variant]
    )
    return encoder, decoder, arg.variant in variants.SMALL


def model(arg, encoder, decoder, **more):
    """Returns the sizes of the network and the settings of its computation."""
    config = ml_collections.ConfigDict(more)
    config.encoder = dict(encoder)
    config.decoder = dict(decoder)
    config.image = options.size(arg.size)  # height, width
    config.patch = 16
    config.position = arg.position
    # The type of computation, also between blocks. Parameters, LayerNorm statistics, softmax and
    # loss are always float32.
    config.dtype = "auto"  # bfloat16 on GPUs and TPUs, float32 on CPUs; or one of the two
    config.attention = "auto"  # or xla, cudnn
    config.remat = "none"  # or dots, full: less memory, more time
    config.unroll = 1  # blocks per iteration of the scan
    return config


def optimizer(*, base_lr, **changes):
    """Returns the settings of AdamW."""
    config = ml_collections.ConfigDict()
    config.base_lr = base_lr  # learning rate per 256 examples
    config.min_lr = 0.0
    config.warmup = "10%"
    config.cosine = "100%"  # end of the cosine; beyond 100% the schedule is cut short
    config.betas = (0.9, 0.95)
    config.eps = 1e-8
    config.weight_decay = 0.05
    config.no_decay = r"(bias|scale)$"
    config.clip = 0.0  # largest gradient norm; 0 is no limit
    config.layer_decay = 1.0  # factor on the rate from each encoder block to the one below
    config.freeze = ()  # patterns of the paths of parameters that are not trained: ("encoder/",)
    config.update(changes)
    return config


def run(config, small, *, every, keep, panel):
    """Adds the settings of a run's computation, checkpoints and report to a config.

    Args:
        config: the config, changed in place.
        small: whether the variant is for CPUs, whose runs are short.
        every: duration between checkpoints and between evaluations.
        keep: number of checkpoints kept.
        panel: number of held-out examples drawn.
    """
    config.seed = 0
    config.accumulate = 1  # number of parts in which a batch is computed, one after the other
    config.ema = 0.0  # decay of the averaged weights; 0 keeps none
    # Workdir of a run, or folder that `convert import` wrote; "" for random weights.
    config.init_from = ""
    config.mesh = {"data": -1, "fsdp": 1, "tensor": 1}
    config.sharding = {"width": "fsdp", "heads": "tensor", "hidden": "tensor"}
    config.checkpoint = {"save": every, "keep": keep, "keep_every": "0"}
    config.report = {"log": "10" if small else "50", "evaluate": every, "panel": panel}
    config.report.tensorboard = True


def shrink(config):
    """Makes a config run in seconds."""
    config.model.image = (64, 64)
    config.model.encoder.update(width=64, depth=2, heads=2)
    config.model.decoder.update(width=32, depth=1, heads=2)
    config.total, config.batch_size = "6", 8
    config.checkpoint.save = config.report.evaluate = "3"
    config.report.log = "1"
