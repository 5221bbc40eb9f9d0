"""Rebuilds arrays of numpy, SciPy (sparse), chumpy and torch from the tree of a pickle.

Only the constructors listed here are supported. Nothing that the pickle names is called: each
constructor is written out here and checks its sizes. Everything else becomes an inert `Unknown`.
"""

import dataclasses
import math
import re
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

from crocohuman_jax.weights.safe import pickles

LARGEST = 1 << 24  # elements of a sparse array once it is dense; METRO's has 1723 x 6890
DEEPEST = 100  # how deep containers may be nested
# Values that a tree may have; a shared value counts each time it occurs, as when it is printed.
MOST_VALUES = 1_000_000
# Making a file's arrays may process ROOM bytes plus SHARE times the file's size. Without a limit, a
# small pickle could convert one long text a thousand times.
ROOM, SHARE = 256 << 20, 8
_NUMPY = re.compile(r"numpy(\._?core(\.\w+)?)?")
_SPARSE = re.compile(r"scipy\.sparse\.(_?(csc|csr|coo)(\.\w+)?)")
_KIND = re.compile(r"[<>|=]?([bB?hHiIlLqQefd]|[biuf][1248]|[SU]\d{1,4})")
_PLAIN = (str, bytes, bytearray, int, float, type(None))
_CONTAINERS = (dict, list, tuple, set, frozenset)


@dataclasses.dataclass(frozen=True, eq=False)
class Unknown:
    """An object of an unsupported class: its class's name and what it would have been made from."""

    name: str
    arguments: tuple = ()
    state: Any = None
    items: tuple = ()


def rebuild(tree: Any, what: str, size: int, tensor: Callable | None = None) -> Any:
    """Returns the value that a tree from `pickles.read` describes; see `Rebuilder`.

    Args:
        tree: the tree.
        what: name of the file in errors.
        size: size of the file in bytes.
        tensor: makes an array from a torch tensor's arguments; None if tensors are not supported.

    Raises:
        ValueError: the size of an array does not match its data, or a container holds itself.
    """
    faults = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
    try:
        return Rebuilder(size, tensor)(tree)
    except faults as error:
        raise ValueError(f"{what} cannot be read: {error}.") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"{what} cannot be read: it is too deep or too large.") from error


class Rebuilder:
    """Turns a tree from `pickles.read` into plain values, arrays and `Unknown`.

    Args:
        size: size of the file in bytes.
        tensor: function (storage, offset, shape, strides) -> array; None without torch tensors.
    """

    def __init__(self, size: int, tensor: Callable | None = None):
        self.tensor = tensor
        self.room = ROOM + SHARE * size
        self._done: dict[int, tuple[Any, Any, int]] = {}
        self._open: set[int] = set()

    def __call__(self, node: Any, depth: int = 0) -> Any:
        """Returns the value of a node.

        Raises:
            ValueError: the size of an array does not match its data, or a container holds itself.
        """
        return self._counted(node, depth)[0]

    def _counted(self, node, depth) -> tuple[Any, int]:
        """Returns the value of a node, and the number of values in it."""
        if isinstance(node, _PLAIN) or (not node and isinstance(node, _CONTAINERS)):
            return node, 1
        if id(node) in self._done:  # the node is kept too, so its id is not reused
            return self._done[id(node)][1:]
        if depth > DEEPEST or id(node) in self._open:
            raise ValueError(f"containers hold themselves or are nested over {DEEPEST} deep")
        self._open.add(id(node))
        value, count = self._value(node, depth + 1)
        self._open.discard(id(node))
        if count > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values, repeats included")
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
            raise ValueError("it calls a function that has no name")
        if not isinstance(arguments, tuple):
            raise ValueError(f"{function} is called without a tuple of arguments")
        name = function.module, function.name
        if name in _RECONSTRUCTORS:
            if not arguments or not isinstance(arguments[0], pickles.Global):
                raise ValueError(f"{function} is called for a class that has no name")
            name, arguments = (arguments[0].module, arguments[0].name), ()
        if name in _TENSORS and self.tensor:
            if len(arguments) < 4:
                raise ValueError("a tensor lacks its storage, offset, size or stride")
            rest = [self(value, depth) for value in arguments[1:4]]
            array = self.tensor(arguments[0], *rest)
            self._spend(0 if array.base is not None else array.nbytes)
            return array, 1
        if name == _SUBCLASS and len(arguments) == 4:  # a tensor that has attributes
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
            raise ValueError("its arrays need too many bytes for a file of its size")


_RECONSTRUCTORS = {("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")}
_SUBCLASS = ("torch._tensor", "_rebuild_from_type_v2")
_TENSORS = {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")}


def _bytes(value) -> int:
    """Returns the cost of visiting a value, as the bytes that could be copied in that time."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    return 512 * (1 + len(value)) if isinstance(value, list | tuple | dict | set) else 64


def _weight(values) -> int:
    """Returns the cost of visiting a value and the values directly inside it."""
    inner = values.values() if isinstance(values, dict) else values
    within = inner if isinstance(values, dict | list | tuple) else ()
    return _bytes(values) + sum(_bytes(value) for value in within)


def _number(key):
    """Returns a key; a numpy number becomes a Python number."""
    return key.item() if isinstance(key, np.generic) else key


def _constructor(module: str, name: str) -> Callable | None:
    """Returns the function (arguments, state, items) -> value of a constructor, or None."""
    if _NUMPY.fullmatch(module):
        return _ARRAYS.get(name)
    if _SPARSE.fullmatch(module):
        return _SPARSE_ARRAYS.get(name)
    return _OTHERS.get((module, name))


def _first(arguments, state, items):
    if not arguments:
        raise ValueError("a parameter has no tensor")
    return arguments[0]


def _encode(arguments, state, items) -> bytes:
    text = arguments[0] if arguments else b""
    if not isinstance(text, str | bytes | bytearray):
        raise ValueError(f"bytes cannot be made from a {type(text).__name__}")
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


def _dictionary(arguments, state, items) -> dict:
    return pickles.keyed(_pairs([*(arguments[0] if arguments else ()), *items]))


def _counting(arguments, state, items) -> dict:
    return pickles.keyed(_pairs(items))


def _pairs(values) -> list[tuple[Any, Any]]:
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in values):
        raise ValueError("a dictionary is made from items that are not pairs")
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
        raise ValueError(f"arrays of type {reprlib.repr(text)} are not supported")
    if text in ("O", "O8"):
        return np.dtype(object)
    kind = np.dtype(text)
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
    order = order.decode("ascii") if isinstance(order, bytes) else order
    if order not in ("<", ">", "|", "="):
        raise ValueError(f"the byte order {reprlib.repr(order)} is unknown")
    return kind.newbyteorder(order)


def _array(arguments, state, items) -> Any:
    if not (isinstance(state, tuple) and len(state) == 5):
        raise ValueError("an array lacks its state of five values")
    _, shape, kind, fortran, data = state
    return _filled(shape, kind, data, bool(fortran))


def _from_buffer(arguments, state, items) -> np.ndarray:
    if len(arguments) != 4:
        raise ValueError("a buffer needs data, type, shape and order")
    data, kind, shape, order = arguments
    return _filled(shape, kind, data, order == "F")


def _filled(shape, kind, data, fortran: bool) -> Any:
    if not isinstance(kind, np.dtype):
        raise ValueError(f"the dtype of an array is a {type(kind).__name__}")
    if kind.kind == "O":
        if not isinstance(data, list) or shape not in ((), (len(data),)):
            raise ValueError("an array of Python objects must be a list with at most one axis")
        if shape == () and len(data) != 1:
            raise ValueError(f"an array of one Python object holds {len(data)}")
        return data if shape else data[0]
    data = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(data, bytes | bytearray):
        raise ValueError("an array has no bytes")
    shape = _shape(shape)
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes do not fit an array of {kind} {shape}")
    if not data:
        return np.zeros(shape, kind)
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def _shape(shape) -> tuple[int, ...]:
    if not isinstance(shape, tuple | list) or len(shape) > 32:
        raise ValueError("an array has no valid shape")
    if not all(type(side) is int and 0 <= side < 1 << 48 for side in shape):
        raise ValueError(f"an array has the invalid shape {reprlib.repr(tuple(shape))}")
    return tuple(shape)


def _scalar(arguments, state, items):
    if len(arguments) != 2 or not isinstance(arguments[0], np.dtype):
        raise ValueError("a number has no type")
    return _filled((), *arguments, False)[()]


def _numbers(state, *names) -> list[np.ndarray]:
    if not isinstance(state, dict):
        raise ValueError("a sparse array has no state")
    found = [state.get(name) for name in names]
    if not all(isinstance(array, np.ndarray) and array.ndim == 1 for array in found):
        raise ValueError(f"a sparse array needs the flat arrays {', '.join(names)}")
    if found[0].dtype.kind not in "biuf" or any(a.dtype.kind not in "iu" for a in found[1:]):
        raise ValueError("the values or indices of a sparse array are not numbers")
    return [found[0], *(array.astype(np.int64) for array in found[1:])]


def _sides(state) -> tuple[int, int]:
    shape = _shape(state.get("_shape", state.get("shape")))
    if len(shape) != 2 or math.prod(shape) > LARGEST:
        raise ValueError(f"a sparse array of shape {shape} is not 2-D or too large")
    return shape


def _compressed(kind: str) -> Callable:
    def dense(arguments, state, items):
        data, indices, pointers = _numbers(state, "data", "indices", "indptr")
        rows, columns = _sides(state)
        lines, across = (columns, rows) if kind == "csc" else (rows, columns)
        counts = np.diff(pointers)
        fits = len(pointers) == lines + 1 and pointers[0] == 0 and pointers[-1] == len(data)
        if not fits or (counts < 0).any():
            raise ValueError("the pointers of a sparse array do not fit its shape and data")
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
        raise ValueError("the rows of a sparse array do not fit its shape and data")
    return _scattered(data, (row, column), sides, column, sides[1])


def _scattered(data, at, sides, indices, across) -> np.ndarray:
    if len(indices) != len(data) or ((indices < 0) | (indices >= across)).any():
        raise ValueError("the indices of a sparse array do not fit its shape and data")
    out = np.zeros(sides, data.dtype)
    np.add.at(out, at, data)
    return out


def _chumpy(arguments, state, items) -> np.ndarray:
    value = state.get("x") if isinstance(state, dict) else None
    if not isinstance(value, np.ndarray):
        raise ValueError("a chumpy array has no value x")
    return value


def _select(arguments, state, items) -> np.ndarray:
    if not isinstance(state, dict):
        raise ValueError("a chumpy selection has no state")
    source, chosen = state.get("a"), state.get("idxs")
    if not isinstance(source, np.ndarray) or not isinstance(chosen, np.ndarray):
        raise ValueError("a chumpy selection has no arrays a and idxs")
    shape = _shape(state.get("preferred_shape", chosen.shape))
    chosen = chosen.ravel()
    fits = chosen.dtype.kind in "iu" and len(chosen) == math.prod(shape)
    if not fits or (len(chosen) and not 0 <= chosen.min() <= chosen.max() < source.size):
        raise ValueError("the indices of a chumpy selection do not fit its array")
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
