"""Values that no run can have: each is refused by its name before anything is written."""

import math
import subprocess
import sys

import crowds
import pytest
import runs

from configs import mesh, pretrain
from crocohuman_jax.configuration import options
from crocohuman_jax.training import loop

NAN, HUGE = math.nan, 10**9
COUNTS = (0, -1)
SHARES = (-0.1, 1.0, NAN)

# {key: values that are refused}; what the config's own types refuse never gets here.
ANY_TASK = {
    "task": ("", "dreaming"),
    "seed": (-1, 2**31),
    "total": ("", "0", "-5", "nan", "nanep", "infep", "1.5", "a while"),
    "batch_size": (0, -1, 12, 8 * HUGE),
    "accumulate": (*COUNTS, HUGE),
    "ema": SHARES,
    "init_from": ("nowhere",),
    "model.encoder.width": (*COUNTS, 5, 65),
    "model.encoder.depth": COUNTS,
    "model.encoder.heads": (*COUNTS, 5, HUGE),
    "model.decoder.width": (*COUNTS, 5, 31),
    "model.decoder.depth": COUNTS,
    "model.decoder.heads": (*COUNTS, 5, HUGE),
    "model.image": ((), (64,), (64, 64, 64), (0, 0), (-64, -64), (64.5, 64), ("64", "64"), (HUGE,)),
    "model.patch": (*COUNTS, 7, HUGE),
    "model.position": ("", "polar"),
    "model.dtype": ("", "float16"),
    "model.attention": ("", "flash"),
    "model.remat": ("", "most"),
    "model.unroll": COUNTS,
    "data.folders": ("", ",", "nowhere"),
    "data.weights": ((1.0, 1.0), (0.0,), (-1.0,), (NAN,), ("nan",)),
    "data.gap": ((), (1,), (1, 2, 3), (0, 0), (3, 2), (-1, 0), (1.5, 2), (1, -2)),
    "data.threads": (-4, HUGE),
    "data.prefetch": (*COUNTS, HUGE),
    "optimizer.base_lr": (-1.0, NAN, math.inf),
    "optimizer.min_lr": (-1.0, 1.0, NAN),
    "optimizer.warmup": ("", "-1", "nan%", "inf%", "soon"),
    "optimizer.cosine": ("", "-1", "0", "nan%", "soon"),
    "optimizer.betas": ((2.0, 0.9), (0.9, 1.0), (0.9,), (0.9, 0.9, 0.9), (NAN, 0.9), ("a", "b")),
    "optimizer.eps": (0.0, -1e-8, NAN),
    "optimizer.weight_decay": (-0.1, NAN, math.inf),
    "optimizer.no_decay": ("", "("),
    "optimizer.clip": (-1.0, NAN),
    "optimizer.layer_decay": (0.0, -1.0, 1.5, NAN),
    "optimizer.freeze": (("",), ("(",), ("nose",), (3,)),
    "mesh.data": (0, -2, 3, HUGE),
    "mesh.fsdp": (0, -2, 3),
    "mesh.tensor": (0, -2, 3),
    "sharding.width": ("", "rows"),
    "sharding.heads": ("", "rows"),
    "sharding.hidden": ("", "rows"),
    "checkpoint.save": ("", "-1", "nanep"),
    "checkpoint.keep": COUNTS,
    "checkpoint.keep_every": ("", "-1", "nanep"),
    "report.log": ("", "-1", "nanep"),
    "report.evaluate": ("", "-1", "nanep"),
    "report.panel": (-1,),
}
PRETRAIN = ANY_TASK | {
    "loss.region": ("", "some"),
    "data.kinds.view": (-1.0, NAN),
    "data.kinds.pose": (-1.0, NAN),
    "data.min_fraction": SHARES,
    "data.mask.mode": ("", "random"),
    "data.mask.ratio": (*SHARES, 0.0),
    "data.mask.rule": ("", "longest"),
    "data.mask.visible": (-1, 3, 16, HUGE),
    "data.mask.multiple": (*COUNTS, HUGE),
    "data.mask.scope": ("", "host"),
    "data.mask.shortage": ("", "drop"),
    "data.augment.crop": ("", "left"),
    "data.augment.brightness": (-0.1, 1.1, NAN),
    "data.augment.contrast": (-0.1, 1.1, NAN),
    "data.augment.saturation": (-0.1, 1.1, NAN),
    "data.augment.rotation": (-1.0, 181.0, NAN),
    "data.augment.homography": (-0.1, 1.1, NAN),
    "data.augment.zoom": (0.0, 0.9, NAN, math.inf),
    "data.held_out_pairs": (-1,),
}
# Of what both tasks have, the keys that fine-tuning reads in its own place.
BODIES = {
    "model.image": ((64,), (64, 32), (0, 0)),
    "model.decoder.heads": (0, 5),
    "data.folders": ("", "nowhere"),
    "data.weights": ((1.0, 1.0), (0.0,), (NAN,)),
    "data.gap": ((1,), (0, 0), (3, 2)),
    "model.drop_path": SHARES,
    "body.model": ("", "nobody", "smpl.pkl"),
    "body.gender": ("", "other"),
    "body.truth": ("", "mine"),
    "body.betas": (*COUNTS, HUGE),
    "body.male": ("nowhere.npz",),
    "body.female": ("nowhere.npz",),
    "body.extra": ("nowhere.npz",),
    "body.h36m": ("nowhere.npz",),
    "body.h36m_order": ("", "smpl"),
    "body.tips": ("", "nails"),
    "body.joints": ("", "bones"),
    "body.mean": ("nowhere.npz",),
    "head.kind": ("", "transformer"),
    "head.hidden": COUNTS,
    "head.steps": COUNTS,
    "head.dropout": SHARES,
    "head.activation": ("", "tanh"),
    "head.camera": ("", "log"),
    "head.supervise": ("", "first"),
    "loss.total": (-1.0, NAN),
    "loss.keypoints_2d": (-1.0, NAN),
    "loss.keypoints_3d": (-1.0, NAN),
    "loss.pose": (-1.0, NAN),
    "loss.betas": (-1.0, NAN),
    "loss.vertices": (-1.0, NAN),
    "loss.depth": (-1.0, NAN),
    "loss.root": (-1.0, NAN),
    "loss.frame": ("", "world"),
    "loss.unit": ("", "inch"),
    "data.fraction": (0.0, -1.0, 1.1, NAN),
    "data.second": ("", "twin"),
    "data.augment.flip": (-0.1, 1.1, NAN),
    "data.augment.scale": SHARES,
    "data.augment.rotation": (-1.0, 91.0, NAN),
    "data.augment.still": (-0.1, 1.1, NAN),
    "data.augment.noise": (-0.1, 1.1, NAN),
    "data.held_out_people": (-1,),
}
METRO = {
    "head.hidden": ((), (0, 0, 0), (64, 32), (63, 32, 32), (-64, 32, 32)),
    "head.outs": ((), (32, 16), (32, 16, 4), (0, 0, 3)),
    "head.depth": COUNTS,
    "head.heads": (*COUNTS, 5),
    "head.feedforward": (-1,),
    "head.dropout": SHARES,
    "head.mask_share": SHARES,
    "head.feature_width": (-1,),
    "head.levels": ((), (0,), (200, 800), (800, 800), (HUGE,)),
    "head.sampling": ("nowhere.npz",),
}
# Any value of its type is right, or it is tried below.
FREE = {"loss.norm_pix", "model.keep_cls", "report.tensorboard", "init_parts"}


@pytest.fixture(scope="module")
def builtin(tmp_path_factory):
    return crowds.builtin(tmp_path_factory.getbasetemp())


def every(table):
    """Returns each key with each of its values; all but the first are tried in the drill alone."""
    return [
        pytest.param(k, v, id=f"{k}={v}", marks=[pytest.mark.drill] if i else [])
        for k, values in table.items()
        for i, v in enumerate(values)
    ]


@pytest.mark.parametrize(
    "config, tables",
    [
        (pretrain.get_config("debug"), (PRETRAIN,)),
        (mesh.get_config("debug,head=iterative"), (ANY_TASK, BODIES)),
        (mesh.get_config("debug,head=metro"), (ANY_TASK, BODIES, METRO)),
    ],
    ids=("completion", "iterative", "metro"),
)
def test_wrong_values_are_tried_of_every_key(config, tables):
    assert set(options.flatten(config.to_dict())) - FREE <= set().union(*tables)


def is_refused(config, key, value, workdir):
    """Trains with a value, which is to fail with its name before there is a workdir."""
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError) as refused:
        loop.train(config, workdir)
    message = str(refused.value)
    assert f"config.{key}" in message or _of_group(key, message), message
    assert not workdir.exists()


def _of_group(key, message):
    """Returns whether a message names the group of a key that only makes sense as a whole."""
    group, _, name = key.rpartition(".")
    return group in ("mesh", "data.kinds") and f"config.{group}" in message and name in message


@pytest.mark.parametrize("key, value", every(PRETRAIN))
def test_pretraining_names_the_setting_that_it_refuses(prepared, tmp_path, key, value):
    is_refused(runs.debug(prepared), key, value, tmp_path / "run")


def test_parts_to_start_from_are_those_of_the_model(prepared, straight, tmp_path):
    for parts in ((), ("nose",), ("",)):
        config = runs.debug(prepared, init_from=str(straight[0]), init_parts=parts)
        with pytest.raises(
            ValueError, match=r"config\.init_parts=.* Known: decoder, encoder, head"
        ):
            loop.train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_batch_is_not_larger_than_an_epoch(prepared, tmp_path):
    with pytest.raises(ValueError, match="config.batch_size is 800000, but an epoch .* has 24 ex"):
        loop.train(runs.debug(prepared, batch_size=800000), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def bodies(builtin, head):
    config = mesh.get_config(f"debug,head={head}")
    config.data.folders, config.mesh = str(builtin), runs.ONE | {"data": 8}
    return config


@pytest.mark.parametrize("key, value", every(BODIES))
def test_fine_tuning_names_the_setting_that_it_refuses(builtin, tmp_path, key, value):
    is_refused(bodies(builtin, "iterative"), key, value, tmp_path / "run")


@pytest.mark.parametrize("key, value", every(METRO))
def test_metro_names_the_setting_that_it_refuses(builtin, tmp_path, key, value):
    is_refused(bodies(builtin, "metro"), key, value, tmp_path / "run")


FLAGS = {
    "train --config=configs/pretrain.py:debug": (
        "--workdir=",
        "--config.batch_size=many",
        "--hosts=0",
        "--hosts=2",
        "--coordinator=localhost:1",
    ),
    "evaluate --workdir=RUN": ("--batch=0", "--pictures=-3", "--split=all", "--alignment=none"),
    "predict --workdir=RUN --images=P --output=OUT": ("--format=stl", "--enlarge=wide"),
    "prepare --dataset=synthetic --output=OUT": (
        "--size=",
        "--workers=-1",
        "--seed=-1",
        "--quality=0",
        "--enlarge=nan",
        "--held_out=1",
        "--held_out_by=luck",
        "--fit=none",
        "--options=people=some",
        "--dataset=nobody",
    ),
    "reconstruct --workdir=RUN --output=OUT.png": ("--pairs=0", "--output=OUT.txt"),
    "benchmark step": ("--steps=0", "--warmup=-1", "--visible=-1", "--cores=-1", "--unrolls=a"),
}
COMMANDS = [(command, flag) for command, found in FLAGS.items() for flag in found]


@pytest.mark.parametrize(
    "command, flag", COMMANDS, ids=[f"{c.split()[0]} {f}" for c, f in COMMANDS]
)
def test_commands_name_the_flag_that_they_refuse(tmp_path, command, flag):
    name, *others = command.replace("RUN", str(tmp_path)).replace("OUT", f"{tmp_path}/out").split()
    others += [f"--workdir={tmp_path}/run"] * (name == "train")
    done = subprocess.run(
        [sys.executable, "-m", f"crocohuman_jax.{name}", *others, flag],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert flag.partition("=")[0] in done.stderr
    assert not list(tmp_path.iterdir())
