"""Small prepared folders of people of whom something is known, and the forms of body models."""

import contextlib
import functools
import pathlib

import numpy as np
import pytest

from crocohuman_jax.body_models import form as form_lib
from crocohuman_jax.body_models import landmarks, loading
from crocohuman_jax.configuration import registry
from crocohuman_jax.data import datasets
from crocohuman_jax.data.datasets import synthetic
from crocohuman_jax.data.preparation import pipeline


@functools.cache
def builtin(folder: pathlib.Path) -> pathlib.Path:
    """Prepares three built-in people, bodies and hands of both sides, once in a session."""
    options = {"kind": "both", "people": 3, "views": 2, "instants": 2, "truth": "numbers"}
    options |= {"place": "studio", "hands": "palm+peace+fist", "supersample": 1}
    settings = pipeline.Settings(
        "synthetic", None, {**synthetic.OPTIONS, **options}, size=(96, 96), seed=6, held_out=0.3
    )
    output = folder / "builtin_people"
    pipeline.prepare(settings, output, 1, lambda *_: None)
    return output


def drawn(output: pathlib.Path, size=(80, 80), **options) -> dict:
    """Prepares the dataset of `tests/datasets/drawn.py`; returns the manifest."""
    with with_drawn() as dataset:
        known = {**dataset.OPTIONS, **options}
        settings = pipeline.Settings("drawn", None, known, size=size, enlarge=1.0)
        return pipeline.prepare(settings, output, 1, lambda *_: None)


@contextlib.contextmanager
def with_drawn():
    """Lets the dataset `drawn` be found, as if it lay beside the others; gives its module."""
    folder = pathlib.Path(__file__).parent / "datasets"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "__path__", [*datasets.__path__, str(folder)])
        yield registry.find("data.datasets", "drawn")


@functools.cache
def form(name: str, **changes) -> form_lib.Form:
    """Returns the form of a built-in body model, with what it is trained on."""
    body = loading.load(name)
    names = landmarks.keypoints(body).names
    found = {
        "kind": body.kind,
        "names": names,
        "aliases": {k: v for k, v in landmarks.ALIASES.items() if k not in names},
        "joints": len(body.names),
        "betas": len(body.shapes),
        "root": np.asarray(body.joints[0], np.float64),
        "root_shapes": np.asarray(body.joint_shapes[:, 0], np.float64),
        "mean_pose": np.asarray(body.mean_pose, np.float64),
    }
    return form_lib.Form(**(found | changes))
