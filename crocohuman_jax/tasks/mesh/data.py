"""Opens the annotated people that a run of mesh recovery is trained and measured on."""

import numpy as np

from crocohuman_jax.body_models import run_body
from crocohuman_jax.data.streams import labelled_people, person_augmentation, person_labels


class Data:
    """The streams of people that a config names.

    Args:
        config: with `body`, `data`, `model` and `seed`.
        bodies: the body model.
    """

    def __init__(self, config, bodies: run_body.Bodies):
        self.form, self.whole = bodies.form(), bodies.form(meshes=True)
        self.config, self.bodies = config.data, bodies
        self.mean_file, self.seed = config.body.mean, config.seed
        self.side, self._train = config.model.image[0], None

    def sources(self) -> list[labelled_people.Source]:
        """Returns the training people of the folders; they are opened at the first call."""
        if self._train is None:
            self._train = self._open("train", self.config.fraction)
        return self._train

    def mean(self) -> np.ndarray:
        """Returns the mean pose, shape and camera, at which estimates start, [6 K + S + 3]."""
        if self.mean_file:
            return run_body.mean_file(self.mean_file, self.form)
        known = [(source.notes, source.rows) for source in self.sources()]
        return self.bodies.estimate(*person_labels.mean(known, self.form))

    def train(self):
        """Returns the endless stream of training people."""
        change = person_augmentation.Change(**self.config.augment)
        return self._stream(self.sources(), change, tuple(self.config.weights), None)

    def held_out(self):
        """Returns the stream of held-out people, or None if there are none."""
        found = self._open("validation")
        if self.config.held_out_people == 0 or not any(len(source.rows) for source in found):
            return None
        return self._stream(found, None, (), self.config.held_out_people)

    def everyone(self, split: str):
        """Returns the stream of all people of a split, with their annotated meshes if any."""
        return self._stream(self._open(split, form=self.whole), None, (), 0, self.whole)

    def _open(self, split: str, fraction: float = 1.0, form=None) -> list[labelled_people.Source]:
        return labelled_people.open_sources(
            tuple(filter(None, self.config.folders.split(","))),
            split=split,
            form=form or self.form,
            second=self.config.second,
            gap=tuple(self.config.gap),
            fraction=fraction,
            seed=self.seed,
        )

    def _stream(self, sources, change, weights, count, form=None):
        return labelled_people.stream(
            sources,
            form=form or self.form,
            side=self.side,
            change=change,
            second=self.config.second,
            weights=weights,
            seed=self.seed,
            count=count,
        )
