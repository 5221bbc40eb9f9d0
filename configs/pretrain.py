"""Cross-view and cross-pose completion of people.

Options after the colon: variant (micro, tiny, small, base, large, huge), decoder (micro, tiny,
small, base; by default the one released with the variant), position (cosine: v1, rope100: v2),
size (side of the picture, or HEIGHTxWIDTH), rule (max_human, max_kept, fixed: how the number of
visible patches is chosen), batch, debug.

The method's published setting is the base encoder on 224x224 pictures with a masking ratio of
0.75, starting from CroCo v1 (encoder 768/12/12, decoder 512/8/16). Its epochs, batch size,
learning rate, augmentation and rule for the number of visible patches are not published, so those
below are this project's choices. The published model reaches 57.5 mm PA-MPJPE on 3DPW when
fine-tuned on COCO-Part. CroCo v1 was trained for 400 epochs with batch size 256 on four A100 in ten
days.

    python -m crocohuman_jax.train --config=configs/pretrain.py:base \
        --config.data.folders=PREPARED --workdir=RUN

`:tiny` takes minutes on two CPU cores, `:debug` takes seconds. `rule=fixed` compiles one program
only, because the number of visible patches never changes.
"""

import ml_collections

from configs import shared
from crocohuman_jax.configuration import options


def get_config(arg=None):
    """Returns the locked config; the module's docstring lists the options in `arg`."""
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
    encoder, decoder, small = shared.sizes(arg)

    config = ml_collections.ConfigDict()
    config.task = "completion"
    shared.run(config, small, every="5%", keep=3, panel=6)
    # Durations are steps ("2000"), epochs ("100ep") or a share of the run ("5%"). In an epoch every
    # frame that has a partner is the picture to complete once.
    config.total = "500" if small else "100ep"
    config.batch_size = arg.batch or (16 if small else 256)
    config.init_parts = ("encoder", "decoder", "head")

    config.model = shared.model(arg, encoder, decoder)
    config.loss = ml_collections.ConfigDict()
    config.loss.norm_pix = True
    config.loss.region = "masked"  # or masked_human, all

    # Accelerators prefer multiples of 8; a grid of 7x7 or 4x4 has too few patches for them.
    grid = 16 if arg.debug else config.model.image[0] * config.model.image[1] // 16**2
    multiple = 8 if grid >= 100 else 4
    config.data = data(arg.rule, multiple, held_out_pairs=64 if small else 512)

    config.optimizer = shared.optimizer(base_lr=1e-2 if small else 1.5e-4)
    if arg.debug:
        shared.shrink(config)
        config.data.held_out_pairs = 8
    return config.lock()


def data(rule, multiple, held_out_pairs):
    """Returns how pairs are sampled, masked and augmented."""
    config = ml_collections.ConfigDict()
    # Prepared folders, comma-separated; A:view or B:pose takes one kind of pairs from a folder.
    config.folders = ""
    config.weights = ()  # shares of the folders; () for their numbers of frames
    config.kinds = {"view": 1.0, "pose": 1.0}  # shares of the kinds in a folder; 0 is off
    config.gap = (1, 0)  # least and greatest distance in time of pose pairs; 0 is no limit
    config.min_fraction = 0.0  # share of human pixels above which a patch is human
    config.mask = {
        "mode": "human",  # or uniform
        "ratio": 0.75,
        "rule": rule,  # chooses the number of visible patches: max_human, max_kept, fixed
        "visible": 0,  # that number for rule=fixed; 0 derives a multiple from the ratio
        "multiple": multiple,  # numbers of visible patches are multiples of it
        "scope": "global",  # pictures with one common number; or per_host, per_device
        "shortage": "clamp",  # if background runs out; or reveal_human, drop_pair
    }
    config.augment = {
        "crop": "random",  # or center
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "rotation": 0.0,  # degrees
        "homography": 0.0,  # largest shift of corners, as a share of the sides
        "zoom": 1.0,  # largest magnification
    }
    config.held_out_pairs = held_out_pairs  # 0 evaluates none
    config.threads = 0  # decoding threads; 0 for one per core
    config.prefetch = 8  # batches kept ready, each made by one thread
    return config


def sweep():
    """Yields the overrides for the method's ablations of masking and of kinds of pairs."""
    yield {"data.mask.mode": "uniform"}
    yield {"data.mask.rule": "max_kept"}
    yield {"data.kinds.pose": 0.0}
    yield {"data.kinds.view": 0.0}
