"""Writes and reads prepared frames: ArrayRecord shards that TFDS can open, and a columnar index.

A prepared folder holds `frames-<split>.array_record-*` (one record per frame, `group_size:1`),
`index.parquet` (one row per record, in the same order), `dataset_info.json` and `features.json`
(metadata for TFDS), `manifest.json` (counts, skips, SHA-256 of every file) and `sheet.png`.
"""

import hashlib
import json
import pathlib
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import simplejpeg
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.proto import tf_example_pb2

from crocohuman_jax.configuration import files

NAME = "frames"
SPLITS = ("train", "validation", "test")
# The columns of the index. Frames of one view group show the same instant from several cameras;
# frames of one pose group show several instants from the same camera; -1 stands for no group.
COLUMNS = pa.schema(
    [
        ("dataset", pa.string()),
        ("sequence", pa.string()),
        ("subject", pa.string()),
        ("camera", pa.string()),
        ("instant", pa.int64()),
        ("split", pa.string()),
        ("view_group", pa.int64()),
        ("pose_group", pa.int64()),
        ("silhouette", pa.bool_()),
        ("source", pa.string()),  # the picture or video, relative to the source folder
        ("box", pa.list_(pa.float32(), 4)),  # x0, y0, x1, y1 of the crop, in source pixels
        # x0, y0, x1, y1 of the picture inside the frame, in frame pixels; the rest is padding.
        ("shown", pa.list_(pa.float32(), 4)),
    ]
)


def features(size: tuple[int, int]) -> tfds.features.FeaturesDict:
    """Returns the TFDS features of a record, for frames of (height, width)."""
    height, width = size
    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(height, width, 3), encoding_format="jpeg"),
            # Eight pixels per byte (numpy.packbits); all zero if there is no silhouette.
            "silhouette": tfds.features.Tensor(
                shape=(packed_size(size),), dtype=np.uint8, encoding="zlib"
            ),
            "has_silhouette": tfds.features.Scalar(np.bool_),
            "dataset": text(),
            "sequence": text(),
            "subject": text(),
            "camera": text(),
            "instant": tfds.features.Scalar(np.int64),
        }
    )


def packed_size(size: tuple[int, int]) -> int:
    """Returns the number of bytes of a packed silhouette of (height, width)."""
    return -(-size[0] * size[1] // 8)


class ShardWriter:
    """Writes one shard of records that all have the given features.

    Raises:
        OSError: the shard could not be written; raised by `write`, or by `close` at the latest.
    """

    def __init__(self, path: pathlib.Path, features: tfds.features.FeaturesDict):
        self.writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        self.features = features
        self.serializer = example_serializer.ExampleSerializer(features.get_serialized_info())

    def write(self, example: dict) -> None:
        """Adds a record."""
        proto = self.serializer.get_tf_example(self.features.encode_example(example))
        # Without `deterministic` the order of fields, and so the shard's digest, would vary.
        self.writer.write(proto.SerializeToString(deterministic=True))
        if not self.writer.ok():
            self.close()  # raises the reason

    def close(self) -> None:
        try:
            self.writer.close()
        except RuntimeError as error:  # the library raises this when the disk is full
            raise OSError(str(error)) from error


def example(image: np.ndarray, silhouette: np.ndarray | None, quality: int, row: dict) -> dict:
    """Returns the record of a frame.

    Args:
        image: [H, W, 3] uint8.
        silhouette: [H, W] bool, None if unknown.
        quality: JPEG quality.
        row: {column: value}, the frame's row of the index.
    """
    packed = np.zeros(packed_size(image.shape[:2]), np.uint8)
    if silhouette is not None:
        packed = np.packbits(silhouette)
    return {
        # Colours at half resolution, as cameras store them: a fifth smaller and faster to read.
        "image": simplejpeg.encode_jpeg(
            np.ascontiguousarray(image), quality=quality, colorsubsampling="420"
        ),
        "silhouette": packed,
        "has_silhouette": silhouette is not None,
        **{name: row[name] for name in ("dataset", "sequence", "subject", "camera", "instant")},
    }


def shard_name(split: str, number: int, count: int, name: str = NAME) -> str:
    """Returns the file name that TFDS expects for a shard."""
    return f"{name}-{split}.array_record-{number:05d}-of-{count:05d}"


def write_metadata(
    folder: pathlib.Path,
    features: tfds.features.FeaturesDict,
    shards: dict[str, list[tuple[int, int]]],
    name: str = NAME,
    description: str = "Crops of people for cross-view and cross-pose completion.",
) -> None:
    """Writes TFDS's metadata; `shards` lists (number of records, bytes) of each split's shards."""
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[records for records, _ in parts],
            num_bytes=sum(size for _, size in parts),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=folder, dataset_name=name, split=split, filetype_suffix="array_record"
            ),
        )
        for split, parts in shards.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        check_data=False,  # would need TensorFlow
        description=description,
    )


def digest(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Records:
    """Gives random access to the records of all splits of a folder, in the order of its index."""

    def __init__(self, folder: pathlib.Path):
        builder = tfds.builder_from_directory(folder)
        # Parsed here: TFDS's own parsing of all features takes five times as long.
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self._sources = [
            builder.as_data_source(split=split, deserialize_method=raw)
            for split in SPLITS
            if split in builder.info.splits
        ]
        self._offsets = np.cumsum([0, *(len(source) for source in self._sources)])

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def __getitem__(self, row: int):
        """Returns the features of a record: {name: tf.train.Feature}."""
        part = int(np.searchsorted(self._offsets, row, "right")) - 1
        raw = self._sources[part][int(row - self._offsets[part])]
        return tf_example_pb2.Example.FromString(raw).features.feature


class Frames:
    """Gives random access to the frames of a prepared folder.

    Attributes:
        size: (height, width) of the frames.
        index: {column: numpy array}, one row per frame; the rows of a split are contiguous.
        fingerprint: a text that changes when any frame changes.

    Raises:
        ValueError: the folder is not a finished preparation.
    """

    def __init__(self, folder: str | pathlib.Path):
        self.folder = pathlib.Path(folder)
        manifest = read_manifest(self.folder)
        self.size = tuple(manifest["size"])
        self.fingerprint = manifest["fingerprint"]
        table = pyarrow.parquet.read_table(self.folder / "index.parquet")
        boxes = [n for n in ("box", "shown") if n in table.column_names]
        self.index = {n: table[n].to_numpy() for n in table.column_names if n not in boxes}
        # Each box column becomes one matrix; `to_numpy` would make an array of arrays.
        for name in (n for n in boxes if not table[n].null_count):
            flat = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            self.index[name] = flat.reshape(-1, 4)
        self.records = Records(self.folder)
        if len(self.records) != len(self):
            raise ValueError(
                f"{folder} holds {len(self.records)} frames but its index has {len(self)} rows. "
                "Prepare it again."
            )

    def __len__(self) -> int:
        return len(self.index["instant"])

    def jpeg_size(self, row: int) -> int:
        """Returns the number of bytes of a frame's JPEG."""
        return len(self.records[row]["image"].bytes_list.value[0])

    def read(self, row: int, silhouette: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns picture [H, W, 3] uint8 and silhouette [H, W] bool of a frame.

        Args:
            row: row of the index.
            silhouette: whether to read the silhouette too.

        Returns:
            The picture, and the silhouette or None if there is none or it was not asked for.

        Raises:
            ValueError: the record cannot be decoded; the message names it.
        """
        try:
            record = self.records[row]
            image = simplejpeg.decode_jpeg(record["image"].bytes_list.value[0], strict=True)
            if not (silhouette and self.index["silhouette"][row]):
                return image, None
            packed = zlib.decompress(record["silhouette"].bytes_list.value[0])
            bits = np.unpackbits(np.frombuffer(packed, np.uint8))[: image.shape[0] * image.shape[1]]
            return image, bits.reshape(image.shape[:2]).view(bool)
        except Exception as error:
            raise ValueError(
                f"Frame {row} of {self.folder} (made from {self.index['source'][row]}) cannot be "
                f"read: {error}. `python -m crocohuman_jax.prepare --check={self.folder}` names "
                "the damaged files."
            ) from error


def read_manifest(folder: pathlib.Path) -> dict:
    """Returns the manifest of a prepared folder.

    Raises:
        ValueError: the folder has no manifest.
    """
    path = folder / "manifest.json"
    if not path.exists():
        unfinished = (folder / "parts").is_dir()
        reason = "its preparation was not finished" if unfinished else "it has no manifest.json"
        raise ValueError(
            f"{folder} is not a prepared folder: {reason}. Make it with "
            f"`python -m crocohuman_jax.prepare --dataset=... --source=... --output={folder}`."
        )
    return json.loads(path.read_text())


def check(folder: pathlib.Path) -> list[str]:
    """Returns one line for every file that is missing or differs from the manifest's SHA-256."""
    faults = []
    for name, wanted in read_manifest(folder)["files"].items():
        try:
            path = files.within(folder, name, follow_links=True)
        except ValueError as error:
            faults.append(f"manifest.json: {error}")
            continue
        if not path.exists():
            faults.append(f"{name}: missing")
        elif digest(path) != wanted["sha256"]:
            faults.append(f"{name}: its SHA-256 differs from the manifest's")
    return faults
