"""Cross-view and cross-pose completion of people.

Options after the colon: variant (micro, tiny, small, base, large, huge), decoder (micro, tiny,
small, base; by default the one released with the variant), position (cosine: v1, rope100: v2),
size (side of the picture, or HEIGHTxWIDTH), rule (max_human, max_kept, fixed), batch, debug.

The method's published setting is the base encoder on 224x224 pictures with a masking ratio of
0.75, starting from CroCo v1 (encoder 768/12/12, decoder 512/8/16). Its epochs, batch size,
learning rate, augmentation and rule for the number of visible patches are not published: those
below are this project's choices. Fine-tuned, the published model reaches 57.5 mm PA-MPJPE
on 3DPW with COCO-Part. The predecessor trained 400 epochs at batch 256 on four A100 in ten days.

    python -m crocohuman_jax.train --config=configs/pretrain.py:base \
        --config.data.folders=PREPARED --workdir=RUN

`:tiny` is for two CPU cores and minutes, `:debug` for seconds. `rule=fixed` compiles one program.
"""

import ml_collections

from configs import variants
from crocohuman_jax.configuration import options


def get_config(arg=None):
    """Returns the locked config; see the module for what `arg` may say."""
    arg = options.parse(
        arg,
        variant="base",
        decoder="",
        position="cosine",
        size="224",
        rule="max_human",
        batch=0,
        debug=False,
    )
    encoder = options.choose("variant", variants.ENCODERS, arg.variant, or_switch="debug")
    decoder = options.choose(
        "decoder", variants.DECODERS, arg.decoder or variants.DECODER_OF[arg.variant]
    )
    small = arg.variant in variants.SMALL

    config = ml_collections.ConfigDict()
    config.task = "completion"
    config.seed = 0
    # Durations are steps ("2000"), epochs ("100ep") or a share of the run ("5%"). An epoch shows
    # every frame that has a partner once as the picture to complete.
    config.total = "500" if small else "100ep"
    config.batch_size = arg.batch or (16 if small else 256)
    config.accumulate = 1  # parts a batch is computed in
    config.ema = 0.0  # decay of the averaged weights; 0 keeps none
    config.init_from = ""  # workdir of another run, or what `convert import` wrote
    config.init_parts = ("encoder", "decoder", "head")

    config.model = _model(arg, encoder, decoder)
    config.loss = ml_collections.ConfigDict()
    config.loss.norm_pix = True
    config.loss.region = "masked"  # masked_human, all

    # Lengths that chips like; a grid of 7x7 or 4x4 has too few patches for multiples of 8.
    grid = 16 if arg.debug else config.model.image[0] * config.model.image[1] // 16**2
    multiple = 8 if grid >= 100 else 4
    config.data = data(arg.rule, multiple, held_out_pairs=64 if small else 512)

    config.optimizer = _optimizer(small)
    config.mesh = {"data": -1, "fsdp": 1, "tensor": 1}
    config.sharding = {"width": "fsdp", "heads": "tensor", "hidden": "tensor"}
    config.checkpoint = {"save": "5%", "keep": 3, "keep_every": "0"}
    config.report = {"log": "10" if small else "50", "evaluate": "5%", "panel": 6}
    config.report.tensorboard = True

    if arg.debug:
        config.model.image = (64, 64)
        config.model.encoder.update(width=64, depth=2, heads=2)
        config.model.decoder.update(width=32, depth=1, heads=2)
        config.total, config.batch_size = "6", 8
        config.data.held_out_pairs = 8
        config.checkpoint.save = config.report.evaluate = "3"
        config.report.log = "1"
    return config.lock()


def _model(arg, encoder, decoder):
    """Returns the sizes of the network and how it is computed."""
    config = ml_collections.ConfigDict()
    config.encoder = dict(encoder)
    config.decoder = dict(decoder)
    config.image = options.size(arg.size)  # height, width
    config.patch = 16
    config.position = arg.position
    # Of the computation: bfloat16 also between the blocks. Parameters, LayerNorm's statistics,
    # softmax and loss are float32 always.
    config.dtype = "auto"  # bfloat16 on GPUs and TPUs, float32 on CPUs; or one of them
    config.attention = "auto"  # xla, cudnn
    config.remat = "none"  # dots, full: less memory, more time
    config.unroll = 1  # blocks per turn of the scan
    return config


def _optimizer(small):
    """Returns the settings of AdamW."""
    config = ml_collections.ConfigDict()
    config.base_lr = 1e-2 if small else 1.5e-4  # per 256 examples
    config.min_lr = 0.0
    config.warmup = "10%"
    config.cosine = "100%"  # its end; beyond 100% the schedule is cut short
    config.betas = (0.9, 0.95)
    config.eps = 1e-8
    config.weight_decay = 0.05
    config.no_decay = r"(bias|scale)$"
    config.clip = 0.0  # largest gradient norm; 0 is no limit
    config.layer_decay = 1.0  # factor on the rate from each block to the one below
    config.freeze = ()  # patterns of parameters that stay as they are
    return config


def data(rule, multiple, held_out_pairs):
    """Returns which pairs are drawn, how they are masked and how they are changed."""
    config = ml_collections.ConfigDict()
    config.folders = ""  # prepared folders, comma-separated; A:view, B:pose for one kind
    config.weights = ()  # their shares; () for their numbers of frames
    config.kinds = {"view": 1.0, "pose": 1.0}  # shares within a folder; 0 is off
    config.gap = (1, 0)  # least and greatest distance of pose pairs in time; 0 is no limit
    config.min_fraction = 0.0  # share of human pixels above which a patch is human
    config.mask = {
        "mode": "human",  # uniform
        "ratio": 0.75,
        "rule": rule,  # how many patches stay visible: max_human, max_kept, fixed
        "visible": 0,  # for rule=fixed: how many; 0 for what the ratio leaves, as a multiple
        "multiple": multiple,  # lengths are multiples of it
        "scope": "global",  # whose pictures the rule looks at: per_host, per_device
        "shortage": "clamp",  # where background runs out: reveal_human, drop_pair
    }
    config.augment = {
        "crop": "random",  # center
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "rotation": 0.0,  # degrees
        "homography": 0.0,  # share of the sides
        "zoom": 1.0,  # largest magnification
    }
    config.held_out_pairs = held_out_pairs  # 0 measures none
    config.threads = 0  # decoding threads; 0 for one per core
    config.prefetch = 8  # batches kept ready, each made by one thread
    return config


def sweep():
    """Yields the overrides of the method's study of what is masked and which pairs are used."""
    yield {"data.mask.mode": "uniform"}
    yield {"data.mask.rule": "max_kept"}
    yield {"data.kinds.pose": 0.0}
    yield {"data.kinds.view": 0.0}
