"""Which action a built-in person shows, from one picture: a whole task in one file."""

import dataclasses
import pathlib

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from crocohuman_jax import models
from crocohuman_jax.data import loader
from crocohuman_jax.data.storage import records, synthetic_truth
from crocohuman_jax.metrics import losses
from crocohuman_jax.models import croco, flops, layers, pixels
from crocohuman_jax.tasks import Asked, Evaluation, Summary, Task


def make(config) -> Task:
    """Returns the task of `config.model`, `config.actions` and `config.data`."""
    model = config.model
    compute = croco.Compute(**{n: model[n] for n in ("dtype", "attention", "remat", "unroll")})
    shape, grid = croco.Shape(**model.encoder), croco.patch_grid(tuple(model.image), model.patch)
    people = People(config.data.folders, tuple(config.actions), config.seed)

    class Net(nnx.Module):
        def __init__(self, key):
            rngs, options = nnx.Rngs(params=key), {"position": model.position, "compute": compute}
            self.encoder = croco.Encoder(shape, patch=model.patch, grid=grid, rngs=rngs, **options)
            self.head = layers.Linear(
                shape.width, len(config.actions), dtype=jnp.float32, rngs=rngs
            )

        def __call__(self, image):  # [B, H, W, 3] uint8 -> [B, actions]
            seen = pixels.normalize(pixels.to_float(image))
            tokens = self.encoder(pixels.patchify(seen, model.patch))
            return self.head(jnp.mean(tokens.astype(jnp.float32), 1))

    init, bind = models.functional(Net)

    def errors(params, batch):
        logits = bind(params)(batch["image"])
        wrong = (jnp.argmax(logits, -1) != batch["action"]).astype(jnp.float32)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch["action"][:, None], 1), wrong

    def loss(params, batch, key, counts):
        del key
        each = errors(params, batch)[0][:, 0]
        value = losses.share(each, jnp.ones(len(each)), counts["action"])
        return value, {"loss": value}

    def measure(params, batch):
        surprise, wrong = errors(params, batch)
        return {"row": batch["row"], "surprise": surprise[:, 0], "wrong": wrong}, {}

    def evaluation(asked: Asked) -> Evaluation:
        return Evaluation(
            stream=people.once(asked.split),
            protocol={"crop": "whole frames", "units": "%"},
            measure=measure,
            summarize=lambda found, index: Summary(
                metrics={"accuracy": 100 * float(1 - found["wrong"].mean())},
                protocol={"frames": len(found["row"]), "skipped": 0},
                failed=~np.isfinite(found["surprise"]),
            ),
            error=lambda found: found["surprise"],
        )

    return Task(
        init=init,
        counts=lambda batch: {"action": len(batch["action"])},
        loss=loss,
        metrics=lambda params, batch: {"wrong": errors(params, batch)[1]},
        predict=lambda params, batch: {"logits": bind(params)(batch["image"])},
        picture=None,
        flops=lambda batch: (
            len(batch["action"])
            * flops.encoding(shape, patches=grid[0] * grid[1], pixels=3 * model.patch**2)
        ),
        train=people.endless,
        held_out=lambda: people.once("validation"),
        axes=croco.AXES,
        example_batch=lambda count: {
            "image": np.zeros((count, *model.image, 3), np.uint8),
            "action": np.zeros(count, np.int32),
        },
        unit="people",
        evaluation=evaluation,
    )


@dataclasses.dataclass
class People:
    """Pictures of a prepared folder and the actions that they show."""

    folder: str
    actions: tuple[str, ...]
    seed: int

    def __post_init__(self):
        self.frames = records.Frames(pathlib.Path(self.folder))
        self.truths = synthetic_truth.Truths(pathlib.Path(self.folder))

    def _read(self, row: int) -> dict:
        action = self.actions.index(self.truths.read(int(row))["action"])
        return {"row": int(row), "image": self.frames.read(int(row))[0], "action": action}

    def _stream(self, split: str, endless: bool) -> loader.Stream:
        rows = np.flatnonzero(self.frames.index["split"] == split)
        elements = grain.MapDataset.source(rows)
        if endless:
            elements = elements.seed(self.seed).shuffle().repeat()

        def collate(found):
            images = np.stack([one["image"] for one in found])
            numbers = {n: np.int32([one[n] for one in found]) for n in ("row", "action")}
            return numbers | {"image": images}

        fingerprint = self.frames.fingerprint
        return loader.Stream(elements.map(self._read), collate, len(rows), fingerprint)

    def endless(self) -> loader.Stream:
        """Returns the pictures to learn from, again and again."""
        return self._stream("train", True)

    def once(self, split: str) -> loader.Stream:
        """Returns the pictures of a split, once each."""
        return self._stream(split, False)
