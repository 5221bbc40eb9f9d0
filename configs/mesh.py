"""Mesh recovery of bodies and hands, from a pre-trained encoder or from random weights.

Options after the colon: variant (micro, tiny, small, base, large, huge), body (open_body,
open_hand_right; or the path of a converted SMPL or MANO file), head (iterative, metro), recipe
(own, spin: parameters and loss of the iterative head), second (none, view, pose, same: source of a
second picture), data (a name of MIXTURES) and root (the folder with its prepared parts), decoder,
position, size, batch, debug.

The method's published setting is the base encoder on 224x224 pictures with the iterative
regressor, trained on COCO-Part-EFT. It reaches 57.5 mm PA-MPJPE and 111.5 mm MPVPE on 3DPW; from
random weights 80.2 and 180.0. PA-MPJPE is 46.2 with Mix*, and 44.2 with METRO's head. Two pictures
with the decoder reach 55.0 and 108.4. Optimizer, epochs and batch size are not published, so those
below are this project's choices, and so is the default recipe of the iterative head. `recipe=spin`
is SPIN's recipe with its loss weights. Augmentation is that of SPIN, and METRO's loss weights are
those of METRO.

    python -m crocohuman_jax.train --config=configs/mesh.py:base \
        --config.data.folders=PREPARED --config.init_from=PRETRAINED --workdir=RUN

The published recipe, with prepared folders DATA/coco_part and so on and a converted SMPL file:

    --config=configs/mesh.py:base,body=SMPL_NEUTRAL.npz,data=coco_part,root=DATA \
        --config.body.extra=J_regressor_extra.npz --config.body.h36m=J_regressor_h36m.npz

`:tiny` suits two CPU cores, `:debug` takes seconds.
"""

import pathlib

import ml_collections

from configs import shared
from crocohuman_jax.configuration import options

# Training data of the method, {name: ((folder, share), ...)}; with shares of 0, folders are sampled
# by their numbers of frames. The shares of Mix are not published. These are SPIN's, and datasets in
# the wild share theirs by their sizes.
_WILD = (("coco_all", 0.6 * 74834 / 89195), ("mpii", 0.6 * 14361 / 89195))
_MIX = (("h36m", 0.3), *_WILD, ("mpi_inf_3dhp", 0.1))
MIXTURES = {
    "": (),
    "coco_part": (("coco_part", 0.0),),
    "coco_all": (("coco_all", 0.0),),
    "coco_part+3dpw": (("coco_part", 0.0), ("3dpw_train", 0.0)),
    "mix": _MIX,
    "mix_star": (*((name, 0.8 * share) for name, share in _MIX), ("3dpw_train", 0.2)),
    "freihand": (("freihand", 0.0),),
    "hanco": (("hanco", 0.0),),
}

RECIPES = {"own": False, "spin": True}  # whether the iterative head is exactly that of SPIN


def get_config(arg=None):
    """Returns the locked config; the module's docstring lists the options in `arg`."""
    arg = options.parse(
        arg,
        variant="base",
        body="open_body",
        head="iterative",
        recipe="own",
        second="none",
        data="",
        root="prepared",
        decoder="",
        position="cosine",
        size="224",
        batch=0,
        debug=False,
    )
    encoder, decoder, small = shared.sizes(arg)
    body = pathlib.PurePath(arg.body).name.lower()
    hand = "hand" in body or "mano" in body

    config = ml_collections.ConfigDict()
    config.task = "mesh"
    shared.run(config, small, every="10%", keep=2, panel=4)
    config.total = "2000" if small else "50ep"
    config.batch_size = arg.batch or (32 if small else 64)
    config.init_parts = ("encoder",) if arg.second == "none" else ("encoder", "decoder")

    # The decoder is used only with a second picture. MAE's encoder may keep its class token.
    config.model = shared.model(arg, encoder, decoder, drop_path=0.0, keep_cls=False)
    config.body = _body(arg, hand)
    heads = {"iterative": _iterative, "metro": _metro}
    head = options.choose("head", heads, arg.head)
    spin = options.choose("recipe", RECIPES, arg.recipe)
    if spin and arg.head != "iterative":
        raise ValueError(f"recipe={arg.recipe} is of head=iterative, not of head={arg.head}.")
    config.head, config.loss = head(hand, small, spin)
    config.data = _data(hand, small, arg.second)
    mixture = options.choose("data", MIXTURES, arg.data)
    config.data.folders = ",".join(f"{arg.root}/{name}" for name, _ in mixture)
    config.data.weights = tuple(share for _, share in mixture if share)
    config.optimizer = shared.optimizer(
        base_lr=1.6e-3 if small else 2e-4,
        warmup="5%",
        betas=(0.9, 0.999),
        no_decay=r"(bias|scale|mean|mask_token|class_token|positions)$",
    )
    if arg.debug:
        _shrink(config, hand)
    return config.lock()


def _body(arg, hand):
    """Returns the settings of the body model and of its points for evaluation."""
    config = ml_collections.ConfigDict()
    config.model = arg.body
    config.gender = "neutral"
    config.truth = "annotated"  # or own: this model gives true meshes, whatever the gender
    config.betas = 10
    config.male = config.female = ""  # models for people annotated with that gender
    config.extra = ""  # SPIN's J_regressor_extra, converted; for SMPL
    config.h36m = ""  # Human3.6M's regressor, converted; for SMPL
    config.h36m_order = "spin"  # or metro: the project that the file comes from
    config.tips = "freihand"  # or manopth
    config.joints = "model" if hand and arg.head == "iterative" else "mesh"
    config.mean = ""  # smpl_mean_params, converted; "" for the mean of the training data
    return config


def _iterative(hand, small, spin):
    """Returns head and loss of the iterative regressor: this project's or SPIN's."""
    del hand
    head = ml_collections.ConfigDict()
    head.kind = "iterative"
    short = small and not spin  # short runs on CPUs
    head.hidden = 512 if short else 1024
    head.steps = 3
    head.dropout = 0.0 if short else 0.5
    head.activation = "none" if spin else "gelu"  # or relu
    # relative: log of the scale, so that it cannot change sign; direct: the scale itself
    head.camera = "direct" if spin else "relative"
    head.supervise = "last"  # or all
    if spin:
        # Points are compared in camera axes and in metres. SPIN averages the 2D error over 49
        # keypoints, of which 24 have a weight; here the mean runs over existing keypoints only.
        loss = {"keypoints_2d": 5.0 * 24 / 49, "keypoints_3d": 5.0, "pose": 1.0, "root": 0.0}
        loss |= {"betas": 0.001, "vertices": 0.0, "depth": 1.0, "total": 60.0}
        return head, loss | {"frame": "camera", "unit": "metre"}
    # The orientation has its own term, apart from the pose, and lengths are relative to the model's
    # size, so that the terms of bodies and hands start with similar values.
    loss = {"keypoints_2d": 2.5, "keypoints_3d": 20.0, "pose": 4.0, "root": 1.0}
    loss |= {"betas": 0.01, "vertices": 0.0, "depth": 0.0, "total": 1.0}
    return head, loss | {"frame": "root", "unit": "size"}


def _metro(hand, small, spin):
    """Returns head and loss of METRO."""
    del small, spin
    head = ml_collections.ConfigDict()
    head.kind = "metro"
    head.hidden = (1024, 256, 64) if hand else (1024, 256, 128)
    head.outs = (512, 128, 3)
    head.depth = 4
    head.heads = 4
    head.feedforward = 0 if hand else 3072  # 0: four times the hidden width
    head.dropout = 0.1
    head.mask_share = 0.3
    head.feature_width = 0
    head.levels = (195,) if hand else (1723, 431)  # vertices of the coarse meshes
    head.sampling = ""  # METRO's file of the coarse meshes, converted; "" to compute them
    # The weight of vertices applies to the mean over the levels, three of bodies and two of hands.
    weights = (1.0, 1.0, 1.0) if hand else (100.0, 1000.0, 100.0)
    terms = ("keypoints_2d", "keypoints_3d", "vertices")
    return head, {"total": 1.0} | dict(zip(terms, weights, strict=True))


def _data(hand, small, second):
    """Returns the training data and how its pictures are augmented."""
    config = ml_collections.ConfigDict()
    config.folders = ""  # prepared folders, comma-separated
    config.weights = ()  # shares of the folders; () for their numbers of frames
    # Share of the frames used; for one seed, a smaller share is a subset of a larger one.
    config.fraction = 1.0
    config.second = second  # none, view, pose, same
    config.gap = (1, 10)  # least and greatest distance in time of the second picture
    # Short runs of small variants learn more without, because they see each picture rarely.
    config.augment = {
        "flip": 0.0 if hand else 0.5,
        "scale": 0.0 if small else 0.25,
        "rotation": 0.0 if small else 30.0,  # standard deviation in degrees
        "still": 0.6,
        "noise": 0.0 if small else 0.4,
    }
    config.held_out_people = 256 if small else 2048
    config.threads = 0
    config.prefetch = 8
    return config


def _shrink(config, hand):
    """Makes a config run in seconds."""
    shared.shrink(config)
    config.data.held_out_people = 8
    config.report.panel = 2
    if config.head.kind == "iterative":
        config.head.hidden = 64
    else:
        config.head.update(hidden=(64, 32, 32), outs=(32, 16, 3), depth=1, feedforward=64)
        config.head.levels = (195,) if hand else (800, 200)


def sweep():
    """Yields the overrides for the method's study of the amount of training data.

    All runs have the same number of steps, that of fifty epochs of all the data.
    """
    for fraction in (0.1, 0.25, 0.5, 0.75, 1.0):
        yield {"data.fraction": fraction, "total": f"{50 / fraction:g}ep"}
