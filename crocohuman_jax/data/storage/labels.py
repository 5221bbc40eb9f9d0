"""Stores the labels of the person in a frame: joints, pose, shape and camera.

They lie in the folder `labels` of a prepared folder, which TFDS reads, if the dataset is for
fine-tuning. The records have the order of the frames' index, as those of `truth`.
"""

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from crocohuman_jax.data import crop
from crocohuman_jax.data.storage import records

NAME = "labels"
# Tables [n, columns] of numbers; n is 0 if nothing is annotated.
TABLES = {
    "keypoints": 3,  # x, y in pixels, confidence; one row for each name of the dataset's KEYPOINTS
    "joints": 4,  # metres in the camera's axes (x right, y down, z forward), confidence; same rows
    "pose": 3,  # rotation vectors of a body model, the first in the camera's axes
    "betas": 1,  # shape parameters of the body model
    "vertices": 3,  # metres in the camera's axes, if the dataset provides them
}
# Arrays of a fixed shape.
FIXED = {
    "crop": (3,),  # centre x, y and side, in pixels, of the square that is cropped by convention
    "intrinsics": (4,),  # fx, fy, cx, cy in pixels; zeros if unknown
    "translation": (3,),  # metres, of the body model in the camera's axes; zeros if unknown
    # s, tx, ty: weak perspective in the crop, s * (X + t) in [-1, 1]; zeros if unknown.
    "camera": (3,),
}
# Model, as "smpl" or "mano_right"; gender: "neutral", "male" or "female"; "" if there is none.
TEXTS = ("model", "gender")


def features() -> tfds.features.FeaturesDict:
    """Returns the TFDS features of a record of labels."""
    tensor = tfds.features.Tensor
    found = {
        name: tensor(shape=(None, columns), dtype=np.float32) for name, columns in TABLES.items()
    }
    found |= {name: tensor(shape=shape, dtype=np.float32) for name, shape in FIXED.items()}
    return tfds.features.FeaturesDict(found | {name: tfds.features.Text() for name in TEXTS})


def moved(labels: Mapping, box: crop.Box, size: tuple[int, int]) -> dict:
    """Returns labels, given in pixels of a picture, in pixels of the frame cut out of it.

    Args:
        labels: entries of TABLES, FIXED and TEXTS; those left out are unknown.
        box: x0, y0, x1, y1 of the frame in the picture.
        size: (height, width) of the frame.
    """
    origin = np.array(box[:2])
    scale = np.array([size[1], size[0]]) / (np.array(box[2:]) - origin)
    found = dict(labels)
    for name in ("keypoints", "crop"):
        if name in found:
            found[name] = np.array(found[name], np.float64)
            found[name][..., :2] = (found[name][..., :2] - origin) * scale
    if "crop" in found:
        found["crop"][2] *= scale[1]
    if "intrinsics" in found and np.any(found["intrinsics"]):
        fx, fy, cx, cy = found["intrinsics"]
        centre = (np.array([cx, cy]) - origin) * scale
        found["intrinsics"] = np.array([fx * scale[0], fy * scale[1], *centre])
    return found


def fault(labels: Mapping, names: tuple[str, ...]) -> str | None:
    """Returns why labels cannot be used, or None if they can."""
    for name, columns in TABLES.items():
        values = np.asarray(labels.get(name, ()), np.float64)
        if not np.isfinite(values).all():
            return f"its {name} hold numbers that are not finite"
        if values.size and (values.shape[-1] != columns and columns > 1):
            return f"its {name} are {values.shape}, not [n, {columns}]"
        if name in ("keypoints", "joints") and values.size not in (0, columns * len(names)):
            return f"it has {len(values)} {name}, the dataset {len(names)} names"
    for name, shape in FIXED.items():
        values = np.asarray(labels.get(name, np.zeros(shape)), np.float64)
        if values.shape != shape:
            return f"its {name} is {values.shape}, not {shape}"
        if not np.isfinite(values).all():
            return f"its {name} holds numbers that are not finite"
    if "crop" not in labels:
        return "it has no crop"
    side = labels["crop"][2]
    return None if side > 0 else f"its crop has a side of {side:g} pixels"


def example(labels: Mapping) -> dict:
    """Returns the record of a frame's labels, in pixels of the frame."""
    found = {
        name: np.asarray(labels.get(name, ()), np.float32).reshape(-1, columns)
        for name, columns in TABLES.items()
    }
    for name, shape in FIXED.items():
        found[name] = np.asarray(labels.get(name, np.zeros(shape)), np.float32).reshape(shape)
    return found | {name: str(labels.get(name, "")) for name in TEXTS}


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
        """Returns a frame's labels: TABLES, FIXED and TEXTS, in pixels of the frame."""
        record, found = self.records[row], {}
        for name, columns in TABLES.items():
            values = np.array(record[name].float_list.value, np.float32)
            found[name] = values.reshape(-1, columns) if columns > 1 else values
        for name, shape in FIXED.items():
            found[name] = np.array(record[name].float_list.value, np.float32).reshape(shape)
        return found | {name: record[name].bytes_list.value[0].decode() for name in TEXTS}
