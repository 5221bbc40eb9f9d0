"""Rebuilds what pickles of arrays hold: numpy's arrays, SciPy's sparse ones, chumpy's, torch's.

Only constructors that are listed here are understood, and none of them is the pickle's own: each
is written out with its sizes checked. Everything else becomes an inert `Unknown`.
"""

import dataclasses
import math
import re
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

from crocohuman_jax.weights.safe import pickles

LARGEST = 1 << 24  # elements that a sparse array may unfold to; METRO's has 1723 x 6890
DEEPEST = 100  # containers within containers
# Values that a tree may have where what is shared counts each time, as it does when it is printed.
MOST_VALUES = 1_000_000
# Bytes that may be handled to make a file's arrays: these, and so many times the file's own. A
# pickle may name one long text a thousand times, each time to be made into something.
ROOM, SHARE = 256 << 20, 8
_NUMPY = re.compile(r"numpy(\._?core(\.\w+)?)?")
_SPARSE = re.compile(r"scipy\.sparse\.(_?(csc|csr|coo)(\.\w+)?)")
_KIND = re.compile(r"[<>|=]?([bB?hHiIlLqQefd]|[biuf][1248]|[SU]\d{1,4})")
_PLAIN = (str, bytes, bytearray, int, float, type(None))
_CONTAINERS = (dict, list, tuple, set, frozenset)


@dataclasses.dataclass(frozen=True, eq=False)
class Unknown:
    """Something that is not read: the name of its class, and what it would have been made of."""

    name: str
    arguments: tuple = ()
    state: Any = None
    items: tuple = ()


def rebuild(tree: Any, what: str, size: int, tensor: Callable | None = None) -> Any:
    """Returns the value that a tree of `pickles.read` stands for; see `Rebuilder`.

    Args:
        tree: the tree.
        what: its name in errors.
        size: bytes of its file.
        tensor: what makes an array of a torch tensor's arguments; None where there are none.

    Raises:
        ValueError: an array whose sizes do not fit, or containers that hold themselves.
    """
    faults = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
    try:
        return Rebuilder(size, tensor)(tree)
    except faults as error:
        raise ValueError(f"{what} is not read: {error}.") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"{what} is not read: it is too deep or too large.") from error


class Rebuilder:
    """Turns the tree of `pickles.read` into plain values, arrays and `Unknown`.

    Args:
        size: bytes of the file.
        tensor: a torch tensor's storage, offset, shape and strides -> array; None without torch.
    """

    def __init__(self, size: int, tensor: Callable | None = None):
        self.tensor = tensor
        self.room = ROOM + SHARE * size
        self._done: dict[int, tuple[Any, Any, int]] = {}
        self._open: set[int] = set()

    def __call__(self, node: Any, depth: int = 0) -> Any:
        """Returns the value of a node.

        Raises:
            ValueError: an array whose sizes do not fit, or containers that hold themselves.
        """
        return self._counted(node, depth)[0]

    def _counted(self, node, depth) -> tuple[Any, int]:
        """Returns the value of a node, and of how many values it consists."""
        if isinstance(node, _PLAIN) or (not node and isinstance(node, _CONTAINERS)):
            return node, 1
        if id(node) in self._done:  # kept with the node, so that its id stays taken
            return self._done[id(node)][1:]
        if depth > DEEPEST or id(node) in self._open:
            raise ValueError("containers within containers without an end")
        self._open.add(id(node))
        value, count = self._value(node, depth + 1)
        self._open.discard(id(node))
        if count > MOST_VALUES:
            raise ValueError(f"it unfolds to more than {MOST_VALUES} values")
        self._done[id(node)] = node, value, count
        return value, count

    def _value(self, node, depth) -> tuple[Any, int]:
        if isinstance(node, pickles.Call):
            return self._call(node, depth)
        if isinstance(node, pickles.Persistent):
            return self._counted(node.id, depth)
        if isinstance(node, dict):
            keys, some = self._all(node.keys(), depth)
            values, more = self._all(node.values(), depth)
            return pickles.keyed(zip(map(_number, keys), values, strict=True)), some + more
        if isinstance(node, _CONTAINERS):
            values, count = self._all(node, depth)
            if isinstance(node, list):
                return values, count
            if isinstance(node, tuple):
                return tuple(values), count
            return pickles.distinct(map(_number, values)), count
        return Unknown(str(node)), 1

    def _all(self, nodes, depth) -> tuple[list, int]:
        found = [self._counted(node, depth) for node in nodes]
        return [value for value, _ in found], 1 + sum(count for _, count in found)

    def _call(self, call, depth) -> tuple[Any, int]:
        function, arguments = call.function, call.arguments
        if not isinstance(function, pickles.Global):
            raise ValueError("it calls something that has no name")
        if not isinstance(arguments, tuple):
            raise ValueError(f"{function} is called without a tuple of arguments")
        name = function.module, function.name
        if name in _RECONSTRUCTORS:
            if not arguments or not isinstance(arguments[0], pickles.Global):
                raise ValueError(f"{function} of something that has no name")
            name, arguments = (arguments[0].module, arguments[0].name), ()
        if name in _TENSORS and self.tensor:
            if len(arguments) < 4:
                raise ValueError("a tensor without storage, offset, size and stride")
            rest = [self(value, depth) for value in arguments[1:4]]
            array = self.tensor(arguments[0], *rest)
            self._spend(0 if array.base is not None else array.nbytes)
            return array, 1
        if name == _SUBCLASS and len(arguments) == 4:  # of a tensor that has attributes
            return self._counted(pickles.Call(arguments[0], arguments[2]), depth)
        arguments, some = self._counted(arguments, depth)
        state, more = self._counted(call.state, depth)
        items, most = self._counted(call.items, depth) if call.items else ((), 1)
        known = _constructor(*name)
        if known is None:
            return Unknown(".".join(name), arguments, state, tuple(items)), some + more + most
        self._spend(_weight(arguments) + _weight(state))
        value = known(arguments, state, items)
        self._spend(_bytes(value))
        return value, 1 if isinstance(value, np.ndarray | np.generic | str | bytes) else some + most

    def _spend(self, count: int) -> None:
        self.room -= count
        if self.room < 0:
            raise ValueError("what it makes is out of proportion to its size")


_RECONSTRUCTORS = {("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")}
_SUBCLASS = ("torch._tensor", "_rebuild_from_type_v2")
_TENSORS = {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")}


def _bytes(value) -> int:
    """Returns how many bytes could be copied in the time that it takes to go over a value."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    return 512 * (1 + len(value)) if isinstance(value, list | tuple | dict | set) else 64


def _weight(values) -> int:
    """Returns the same of a value and of what it holds."""
    inner = values.values() if isinstance(values, dict) else values
    within = inner if isinstance(values, dict | list | tuple) else ()
    return _bytes(values) + sum(_bytes(value) for value in within)


def _number(key):
    """Returns a key; if it is a number of numpy's, as one of Python's."""
    return key.item() if isinstance(key, np.generic) else key


def _constructor(module: str, name: str) -> Callable | None:
    """Returns what rebuilds (arguments, state, items) of a class or function, or None."""
    if _NUMPY.fullmatch(module):
        return _ARRAYS.get(name)
    if _SPARSE.fullmatch(module):
        return _SPARSE_ARRAYS.get(name)
    return _OTHERS.get((module, name))


def _first(arguments, state, items):
    if not arguments:
        raise ValueError("a parameter without its tensor")
    return arguments[0]


def _encode(arguments, state, items) -> bytes:
    text = arguments[0] if arguments else b""
    if not isinstance(text, str | bytes | bytearray):
        raise ValueError(f"bytes of a {type(text).__name__}")
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


def _dictionary(arguments, state, items) -> dict:
    return pickles.keyed(_pairs([*(arguments[0] if arguments else ()), *items]))


def _counting(arguments, state, items) -> dict:
    return pickles.keyed(_pairs(items))


def _pairs(values) -> list[tuple[Any, Any]]:
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in values):
        raise ValueError("a dictionary of something else than pairs")
    return [(_number(key), value) for key, value in values]


def _set(arguments, state, items) -> set:
    return pickles.distinct(map(_number, arguments[0] if arguments else ()))


def _namespace(arguments, state, items) -> dict:
    return state if isinstance(state, dict) else {}


def _sides_of(arguments, state, items) -> tuple:
    return tuple(arguments[0]) if arguments else ()


def _dtype(arguments, state, items) -> np.dtype:
    text = arguments[0] if arguments else None
    text = text.decode("ascii") if isinstance(text, bytes) else text
    if not isinstance(text, str) or not (_KIND.fullmatch(text) or text in ("O", "O8")):
        raise ValueError(f"arrays of type {reprlib.repr(text)} are not read")
    if text in ("O", "O8"):
        return np.dtype(object)
    kind = np.dtype(text)
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
    order = order.decode("ascii") if isinstance(order, bytes) else order
    if order not in ("<", ">", "|", "="):
        raise ValueError(f"an unknown order of bytes, {reprlib.repr(order)}")
    return kind.newbyteorder(order)


def _array(arguments, state, items) -> Any:
    if not (isinstance(state, tuple) and len(state) == 5):
        raise ValueError("an array without its state")
    _, shape, kind, fortran, data = state
    return _filled(shape, kind, data, bool(fortran))


def _from_buffer(arguments, state, items) -> np.ndarray:
    if len(arguments) != 4:
        raise ValueError("a buffer without type, shape and order")
    data, kind, shape, order = arguments
    return _filled(shape, kind, data, order == "F")


def _filled(shape, kind, data, fortran: bool) -> Any:
    if not isinstance(kind, np.dtype):
        raise ValueError(f"an array of type {type(kind).__name__}")
    if kind.kind == "O":
        if not isinstance(data, list) or shape not in ((), (len(data),)):
            raise ValueError("an array of Python objects with sides is not read")
        if shape == () and len(data) != 1:
            raise ValueError(f"one Python object that is {len(data)}")
        return data if shape else data[0]
    data = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(data, bytes | bytearray):
        raise ValueError("an array without bytes")
    shape = _shape(shape)
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"an array {kind} {shape} has {len(data)} bytes")
    if not data:
        return np.zeros(shape, kind)
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def _shape(shape) -> tuple[int, ...]:
    if not isinstance(shape, tuple | list) or len(shape) > 32:
        raise ValueError("an array without a shape")
    if not all(type(side) is int and 0 <= side < 1 << 48 for side in shape):
        raise ValueError(f"an array of shape {reprlib.repr(tuple(shape))}")
    return tuple(shape)


def _scalar(arguments, state, items):
    if len(arguments) != 2 or not isinstance(arguments[0], np.dtype):
        raise ValueError("a number without its type")
    return _filled((), *arguments, False)[()]


def _numbers(state, *names) -> list[np.ndarray]:
    if not isinstance(state, dict):
        raise ValueError("a sparse array without its state")
    found = [state.get(name) for name in names]
    if not all(isinstance(array, np.ndarray) and array.ndim == 1 for array in found):
        raise ValueError(f"a sparse array without {', '.join(names)}")
    if found[0].dtype.kind not in "biuf" or any(a.dtype.kind not in "iu" for a in found[1:]):
        raise ValueError("a sparse array whose indices or values are no numbers")
    return [found[0], *(array.astype(np.int64) for array in found[1:])]


def _sides(state) -> tuple[int, int]:
    shape = _shape(state.get("_shape", state.get("shape")))
    if len(shape) != 2 or math.prod(shape) > LARGEST:
        raise ValueError(f"a sparse array of shape {shape}")
    return shape


def _compressed(kind: str) -> Callable:
    def dense(arguments, state, items):
        data, indices, pointers = _numbers(state, "data", "indices", "indptr")
        rows, columns = _sides(state)
        lines, across = (columns, rows) if kind == "csc" else (rows, columns)
        counts = np.diff(pointers)
        fits = len(pointers) == lines + 1 and pointers[0] == 0 and pointers[-1] == len(data)
        if not fits or (counts < 0).any():
            raise ValueError("a sparse array whose pointers do not fit")
        line = np.repeat(np.arange(lines), counts)
        at = (indices, line) if kind == "csc" else (line, indices)
        return _scattered(data, at, (rows, columns), indices, across)

    return dense


def _coordinates(arguments, state, items):
    if isinstance(state, dict) and isinstance(state.get("coords"), tuple | list):
        state = state | dict(zip(("row", "col"), state["coords"], strict=True))  # newer SciPy
    data, row, column = _numbers(state, "data", "row", "col")
    sides = _sides(state)
    if len(row) != len(data) or len(column) != len(data) or ((row < 0) | (row >= sides[0])).any():
        raise ValueError("a sparse array whose rows do not fit")
    return _scattered(data, (row, column), sides, column, sides[1])


def _scattered(data, at, sides, indices, across) -> np.ndarray:
    if len(indices) != len(data) or ((indices < 0) | (indices >= across)).any():
        raise ValueError("a sparse array whose indices do not fit")
    out = np.zeros(sides, data.dtype)
    np.add.at(out, at, data)
    return out


def _chumpy(arguments, state, items) -> np.ndarray:
    value = state.get("x") if isinstance(state, dict) else None
    if not isinstance(value, np.ndarray):
        raise ValueError("a chumpy array without its value x")
    return value


def _select(arguments, state, items) -> np.ndarray:
    if not isinstance(state, dict):
        raise ValueError("a chumpy selection without its state")
    source, chosen = state.get("a"), state.get("idxs")
    if not isinstance(source, np.ndarray) or not isinstance(chosen, np.ndarray):
        raise ValueError("a chumpy selection without a and idxs")
    shape = _shape(state.get("preferred_shape", chosen.shape))
    chosen = chosen.ravel()
    fits = chosen.dtype.kind in "iu" and len(chosen) == math.prod(shape)
    if not fits or (len(chosen) and not 0 <= chosen.min() <= chosen.max() < source.size):
        raise ValueError("a chumpy selection that does not fit")
    return source.ravel()[chosen].reshape(shape)


_ARRAYS = {
    "_reconstruct": _array,
    "ndarray": _array,
    "dtype": _dtype,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
}
_SPARSE_ARRAYS = {
    "csc_matrix": _compressed("csc"),
    "csc_array": _compressed("csc"),
    "csr_matrix": _compressed("csr"),
    "csr_array": _compressed("csr"),
    "coo_matrix": _coordinates,
    "coo_array": _coordinates,
}
_OTHERS = {
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytearray"): _encode,
    ("builtins", "bytearray"): _encode,
    ("__builtin__", "set"): _set,
    ("builtins", "set"): _set,
    ("collections", "OrderedDict"): _dictionary,
    ("collections", "defaultdict"): _counting,
    ("argparse", "Namespace"): _namespace,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch.nn.parameter", "Parameter"): _first,
    ("torch", "Size"): _sides_of,
    ("chumpy.ch", "Ch"): _chumpy,
    ("chumpy.reordering", "Select"): _select,
}
