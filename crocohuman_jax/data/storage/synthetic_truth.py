"""Stores the ground truth of synthetic frames: maps, joints, pose, shape and camera.

It lies in the folder `truth` of a prepared folder, which TFDS reads. The records have the order of
the frames' index: row i of `records.Frames` is row i of `Truths`.
"""

import pathlib
import zlib
from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from crocohuman_jax.data.storage import records

NAME = "truth"
# Maps, one value per pixel: (number of channels, or 0 for a map [H, W] without that axis; type,
# step and offset of the stored integers: value = integer * step + offset).
MAPS = {
    "part": (
        0,
        np.uint8,
        1,
        0,
    ),  # body part 1..17, see `synthetic.figure.parametric_body`; 0: nobody
    "face": (0, np.uint16, 1, -1),  # index of the mesh's face; -1: nobody
    "depth": (0, np.uint16, 1 / 4000, 0),  # metres along the line of sight; offset: `nearest`
    "uv": (2, np.uint16, 1 / 65535, 0),  # coordinates in the body's texture atlas
    "canonical": (3, np.uint16, 4 / 65535, -2),  # metres, position on the template body at rest
}
# Tables [n, columns] of numbers; n is the same in every frame of a dataset.
TABLES = {
    "joints": 3,  # metres, in the world
    "joints_2d": 2,  # pixels of the frame
    "bones": 3,  # rotation vectors, about the rest pose's axes
    "coefficients": 1,  # shape coefficients of the rest mesh
    "model_pose": 3,  # rotation vectors of the open body, or of the open hand
    "model_shape": 1,  # betas of the open body or hand
    "phenotype": 1,
}
# Arrays of a fixed shape.
FIXED = {
    "placement": (3,),  # metres, added to the root bone
    "model_translation": (3,),
    "intrinsics": (4,),  # fx, fy, cx, cy in pixels of the frame
    "rotation": (3, 3),  # camera_from_world
    "translation": (3,),
    "nearest": (),  # metres, the smallest depth of the person
    "time": (),  # seconds since the motion began
    "hidden": (),  # share of the person that objects occlude
}
TEXTS = ("kind", "side", "action", "left_hand", "right_hand")


def features(size: tuple[int, int], maps: bool) -> tfds.features.FeaturesDict:
    """Returns the TFDS features of a record of ground truth, for frames of (height, width)."""
    tensor, found = tfds.features.Tensor, {}
    if maps:
        for name, (channels, kind, _, _) in MAPS.items():
            shape = (*size, channels) if channels else size
            found[name] = tensor(shape=shape, dtype=kind, encoding="zlib")
    for name, columns in TABLES.items():
        found[name] = tensor(shape=(None, columns), dtype=np.float32)
    for name, shape in FIXED.items():
        found[name] = tensor(shape=shape, dtype=np.float32)
    return tfds.features.FeaturesDict(found | {name: tfds.features.Text() for name in TEXTS})


def example(truth: Mapping, size: tuple[int, int], maps: bool) -> dict:
    """Returns the record of a frame's ground truth; see MAPS, TABLES, FIXED and TEXTS.

    Raises:
        ValueError: a value of a map does not fit into the type that stores it.
    """
    found = {}
    seen = np.asarray(truth["depth"])[np.asarray(truth["part"]) > 0]
    truth = {**truth, "nearest": seen.min() if len(seen) else 0.0}
    if maps:
        for name, (channels, kind, step, zero) in MAPS.items():
            zero = np.float32(truth["nearest"]) if name == "depth" else zero
            stored = np.rint((np.asarray(truth[name], np.float64) - zero) / step)
            stored = np.where(_known(truth["part"], channels), stored, 0)
            if stored.min() < 0 or stored.max() > np.iinfo(kind).max:
                raise ValueError(
                    f"{name} has values out of range: it is stored in {kind.__name__} steps of "
                    f"{step}."
                )
            found[name] = stored.astype(kind)
    for name, columns in TABLES.items():
        found[name] = np.asarray(truth[name], np.float32).reshape(-1, columns)
    for name, shape in FIXED.items():
        found[name] = np.asarray(truth[name], np.float32).reshape(shape)
    return found | {name: str(truth[name]) for name in TEXTS}


class Truths:
    """Reads the ground truth of a prepared folder's frames.

    Raises:
        ValueError: the folder has no ground truth.
    """

    def __init__(self, folder: str | pathlib.Path):
        self.folder = pathlib.Path(folder) / NAME
        if not (self.folder / "dataset_info.json").exists():
            raise ValueError(
                f"{folder} holds no ground truth. `prepare --dataset=synthetic` writes it, unless "
                "--options=truth=none is given."
            )
        self.size = tuple(records.read_manifest(pathlib.Path(folder))["size"])
        self.records = records.Records(self.folder)

    def __len__(self) -> int:
        return len(self.records)

    def read(self, row: int) -> dict[str, np.ndarray | str]:
        """Returns a frame's ground truth, in the units of MAPS, TABLES and FIXED.

        Returns:
            part [H, W] uint8; face [H, W] int32; depth [H, W], uv [H, W, 2] and canonical
            [H, W, 3] float32 (zero outside the person); float32 tables, and texts.
        """
        record, found = self.records[row], {}
        nearest = np.float32(record["nearest"].float_list.value[0])
        for name, (channels, kind, step, zero) in MAPS.items():
            zero = nearest if name == "depth" else zero
            if name not in record:
                continue
            raw = zlib.decompress(record[name].bytes_list.value[0])
            shape = (*self.size, channels) if channels else self.size
            stored = np.frombuffer(raw, kind).reshape(shape)
            if name == "part":
                found[name] = stored
            elif name == "face":
                found[name] = stored.astype(np.int32) + zero
            else:
                value = stored.astype(np.float32) * np.float32(step) + np.float32(zero)
                found[name] = np.where(_known(found["part"], channels), value, np.float32(0))
        for name, columns in TABLES.items():
            values = np.array(record[name].float_list.value, np.float32)
            found[name] = values.reshape(-1, columns) if columns > 1 else values
        for name, shape in FIXED.items():
            found[name] = np.array(record[name].float_list.value, np.float32).reshape(shape)
        return found | {name: record[name].bytes_list.value[0].decode() for name in TEXTS}


def _known(part: np.ndarray, channels: int) -> np.ndarray:
    known = np.asarray(part) > 0
    return known[..., None] if channels else known
