"""Stores the labels of the person in a frame: joints, pose, shape and camera.

They lie in the folder `labels` of a prepared folder, which TFDS reads, if the dataset is for
fine-tuning. The records have the order of the frames' index, as those of `truth`.
"""

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from crocohuman_jax.data import crop
from crocohuman_jax.data.storage import label_fields, records

NAME = "labels"


def features() -> tfds.features.FeaturesDict:
    """Returns the TFDS features of a record of labels."""
    found = {}
    for name, label in label_fields.LABELS.items():
        shape = label.shape if label.shape[:1] != (None,) else (None, label.columns)
        tensor = tfds.features.Tensor(shape=shape, dtype=np.float32)
        found[name] = tensor if label.shape else tfds.features.Text()
    return tfds.features.FeaturesDict(found)


def moved(labels: Mapping, box: crop.Box, size: tuple[int, int]) -> dict:
    """Returns labels, given in pixels of a picture, in pixels of the frame cut out of it.

    Args:
        labels: entries of `label_fields.LABELS`; those left out are unknown.
        box: x0, y0, x1, y1 of the frame in the picture.
        size: (height, width) of the frame.
    """
    origin = np.array(box[:2])
    scale = np.array([size[1], size[0]]) / (np.array(box[2:]) - origin)
    return {
        name: label_fields.cropped(label_fields.LABELS[name], value, origin, scale)
        for name, value in labels.items()
    }


def fault(labels: Mapping, names: tuple[str, ...]) -> str | None:
    """Returns why labels cannot be used, or None if they can."""
    for name, label in label_fields.LABELS.items():
        fixed = None not in label.shape
        if not label.shape:
            continue
        values = np.asarray(labels.get(name, np.zeros(label.shape) if fixed else ()), np.float64)
        if fixed and values.shape != label.shape:
            return f"its {name} is {values.shape}, not {label.shape}"
        if not np.isfinite(values).all():
            return f"its {name} {'holds' if fixed else 'hold'} numbers that are not finite"
        if fixed or not values.size:
            continue
        if label.columns > 1 and values.shape[-1] != label.columns:
            return f"its {name} are {values.shape}, not [n, {label.columns}]"
        if label.named and values.size != label.columns * len(names):
            return f"it has {len(values)} {name}, the dataset {len(names)} names"
    if "crop" not in labels:
        return "it has no crop"
    side = labels["crop"][2]
    return None if side > 0 else f"its crop has a side of {side:g} pixels"


def example(labels: Mapping) -> dict:
    """Returns the record of a frame's labels, in pixels of the frame."""
    found = {}
    for name, label in label_fields.LABELS.items():
        if not label.shape:
            found[name] = str(labels.get(name, ""))
        elif None in label.shape:
            values = np.asarray(labels.get(name, ()), np.float32)
            found[name] = values.reshape(-1, label.columns)
        else:
            values = np.asarray(labels.get(name, np.zeros(label.shape)), np.float32)
            found[name] = values.reshape(label.shape)
    return found


class Labels:
    """Reads the labels of a prepared folder's frames.

    Attributes:
        names: names of the keypoints and joints, in the order of their rows.

    Raises:
        ValueError: the folder has no labels, or is not a finished preparation.
    """

    def __init__(self, folder: str | pathlib.Path):
        manifest = records.read_manifest(pathlib.Path(folder))
        self.folder = pathlib.Path(folder) / NAME
        if not (self.folder / "dataset_info.json").exists():
            raise ValueError(
                f"{folder} holds no labels, because its dataset has none. Prepare a dataset with "
                "labels."
            )
        self.names = tuple(manifest["keypoints"])
        self.records = records.Records(self.folder)

    def __len__(self) -> int:
        return len(self.records)

    def read(self, row: int) -> dict[str, np.ndarray | str]:
        """Returns a frame's labels, `label_fields.LABELS`, in pixels of the frame."""
        record, found = self.records[row], {}
        for name, label in label_fields.LABELS.items():
            if not label.shape:
                found[name] = record[name].bytes_list.value[0].decode()
                continue
            values = np.array(record[name].float_list.value, np.float32)
            found[name] = values.reshape([-1 if n is None else n for n in label.shape])
        return found
