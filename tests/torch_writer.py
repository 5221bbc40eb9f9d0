"""Writes files as torch does, newer and older ones, for tests where there is no torch."""

import argparse
import collections
import io
import pickle
import sys
import types
import zipfile

import ml_dtypes
import numpy as np

STORAGES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Tensor:
    """A view of a storage: a one-dimensional array that several tensors may share."""

    def __init__(self, storage, shape=None, strides=None, offset=0):
        self.storage, self.offset = storage, offset
        self.shape = storage.shape if shape is None else shape
        self.strides = tuple(np.zeros(self.shape).strides) if strides is None else strides
        if strides is None:
            self.strides = tuple(stride // 8 for stride in self.strides)


def _stand_ins():
    """Returns modules with the names that torch's pickles have."""
    torch, tools, parameter = (
        types.ModuleType(name) for name in ("torch", "torch._utils", "torch.nn.parameter")
    )
    for name in STORAGES:
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        made = types.FunctionType((lambda *_: None).__code__, {}, name)
        made.__module__, made.__qualname__ = "torch._utils", name
        setattr(tools, name, made)
    return {module.__name__: module for module in (torch, tools, parameter)}


class Pickler(pickle._Pickler):
    """Pickles tensors as torch does; keeps their storages by key."""

    def __init__(self, file, old: bool):
        super().__init__(file, 2)
        self.old, self.storages, self.names = old, {}, {}

    def persistent_id(self, value):
        return self.names.get(id(value))

    def save(self, value, save_persistent_id=True):
        if not isinstance(value, Tensor):
            return super().save(value, save_persistent_id)
        kind = next(k for k, v in STORAGES.items() if value.storage.dtype == v)
        key = str(len(self.storages))
        key = next((k for k, s in self.storages.items() if s is value.storage), key)
        self.storages[key] = value.storage
        about = ("storage", getattr(sys.modules["torch"], kind), key, "cpu", len(value.storage))
        self.names[id(value.storage)] = (*about, None) if self.old else about
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        hooks = collections.OrderedDict()
        arguments = (value.storage, value.offset, value.shape, value.strides, False, hooks)
        self.save_reduce(rebuild, arguments)


def _pickled(content, old: bool) -> tuple[bytes, dict]:
    before = {name: sys.modules.get(name) for name in _stand_ins()}
    sys.modules.update(_stand_ins())
    try:
        file = io.BytesIO()
        pickler = Pickler(file, old)
        pickler.dump(content)
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return file.getvalue(), pickler.storages


def new(content) -> bytes:
    """Returns a file as torch 1.6 and later write it."""
    described, storages = _pickled(content, False)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", described)
        archive.writestr("archive/byteorder", b"little")
        for key, storage in storages.items():
            archive.writestr(f"archive/data/{key}", storage.tobytes())
        archive.writestr("archive/version", b"3\n")
    return file.getvalue()


def old(content) -> bytes:
    """Returns a file as torch before 1.6 wrote it."""
    described, storages = _pickled(content, True)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    tail = [len(s).to_bytes(8, "little") + s.tobytes() for _, s in sorted(storages.items())]
    return b"".join([*head, described, pickle.dumps(sorted(storages), 2), *tail])


_SHARED = np.arange(24, dtype=np.float32)
# Tensors of every type, views of one storage, and what else checkpoints hold.
CONTENT = {
    "model": collections.OrderedDict(
        plain=Tensor(np.arange(6, dtype=np.float32), (2, 3)),
        first=Tensor(_SHARED, (3, 4)),
        column=Tensor(_SHARED, (4, 2), (6, 1), 1),
        turned=Tensor(_SHARED, (6, 4), (1, 6)),
        half=Tensor(np.array([1, 2.5], np.float16)),
        brain=Tensor(np.array([1, -2.5], ml_dtypes.bfloat16)),
        whole=Tensor(np.array([1 << 40, -1])),
        flags=Tensor(np.array([True, False])),
        scalar=Tensor(np.array([7], np.uint8), ()),
        empty=Tensor(np.zeros(0, np.float32), (0, 3), (3, 1)),
    ),
    "args": argparse.Namespace(model="CroCoNet(img_size=64)", lr=0.001, betas=(0.9, 0.95)),
    "epoch": 3,
    "numpy": np.arange(6.0).reshape(2, 3).T,
    "unlike": collections.Counter("aab"),
}


def expected() -> dict[str, np.ndarray]:
    """Returns the arrays of CONTENT's model."""
    tensors = CONTENT["model"].items()
    return {
        name: np.lib.stride_tricks.as_strided(
            tensor.storage[tensor.offset :],
            tensor.shape,
            [stride * tensor.storage.itemsize for stride in tensor.strides],
        )
        for name, tensor in tensors
    }
