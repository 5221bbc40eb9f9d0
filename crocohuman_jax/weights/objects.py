"""Rebuilds what pickles of arrays hold: numpy's arrays, SciPy's sparse ones, chumpy's, torch's.

Only constructors that are listed here are understood, and none of them is the pickle's own: each
is written out with its sizes checked. Everything else becomes an inert `Unknown`.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from crocohuman_jax.weights import pickles

LARGEST = 1 << 24  # elements that a sparse or selected array may unfold to
DEEPEST = 100  # containers within containers
_NUMPY = re.compile(r"numpy(\._?core(\.\w+)?)?")
_SPARSE = re.compile(r"scipy\.sparse\.(_?(csc|csr|coo)(\.\w+)?)")
_KIND = re.compile(r"[<>|=]?([bB?hHiIlLqQefd]|[biuf][1248]|[SU]\d{1,4})")


@dataclasses.dataclass(frozen=True)
class Unknown:
    """Something that is not read: the name of its class, and what it would have been made of."""

    name: str
    arguments: tuple = ()
    state: Any = None


def rebuild(tree: Any, what: str, tensor: Callable | None = None) -> Any:
    """Returns the value that a tree of `pickles.read` stands for; see `Rebuilder`.

    Args:
        tree: the tree.
        what: its name in errors.
        tensor: what makes an array of a torch tensor's arguments; None where there are none.

    Raises:
        ValueError: an array whose sizes do not fit, or containers that hold themselves.
    """
    faults = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
    try:
        return Rebuilder(tensor)(tree)
    except faults as error:
        raise ValueError(f"{what} is not read: {error}.") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"{what} is not read: it is too deep or too large.") from error


class Rebuilder:
    """Turns the tree of `pickles.read` into plain values, arrays and `Unknown`.

    Args:
        tensor: storage and arguments of a torch tensor -> array; None where there are none.
    """

    def __init__(self, tensor: Callable | None = None):
        self.tensor = tensor
        self._done: dict[int, tuple[Any, Any]] = {}
        self._open: set[int] = set()

    def __call__(self, node: Any, depth: int = 0) -> Any:
        """Returns the value of a node.

        Raises:
            ValueError: an array whose sizes do not fit, or containers that hold themselves.
        """
        if isinstance(node, str | bytes | bytearray | int | float | bool | None):
            return node
        if id(node) in self._done:  # kept with the node, so that its id stays taken
            return self._done[id(node)][1]
        if depth > DEEPEST or id(node) in self._open:
            raise ValueError("containers within containers without an end")
        self._open.add(id(node))
        value = self._value(node, depth + 1)
        self._open.discard(id(node))
        self._done[id(node)] = node, value
        return value

    def _value(self, node, depth):
        if isinstance(node, dict):
            return {self(k, depth): self(v, depth) for k, v in node.items()}
        if isinstance(node, list):
            return [self(value, depth) for value in node]
        if isinstance(node, tuple):
            return tuple(self(value, depth) for value in node)
        if isinstance(node, set | frozenset):
            return {self(value, depth) for value in node}
        if isinstance(node, pickles.Call):
            return self._call(node, depth)
        if isinstance(node, pickles.Persistent):
            return self(node.id, depth)
        return Unknown(str(node))

    def _call(self, call, depth):
        function = call.function
        if not isinstance(function, pickles.Global):
            raise ValueError("it calls something that has no name")
        module, name = function.module, function.name
        if name == "_reconstructor" and module in ("copy_reg", "copyreg"):
            if not (isinstance(call.arguments, tuple) and call.arguments):
                raise ValueError("_reconstructor without a class")
            kind = call.arguments[0]
            if not isinstance(kind, pickles.Global):
                raise ValueError("_reconstructor of something that has no name")
            call = pickles.Call(kind, (), call.state, call.items)
            module, name = kind.module, kind.name
        arguments = call.arguments
        if not isinstance(arguments, tuple):
            raise ValueError(f"{name} is called without a tuple of arguments")
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2") and self.tensor:
            return self.tensor(arguments)
        if (module, name) == ("torch._utils", "_rebuild_tensor") and self.tensor:
            return self.tensor(arguments)
        arguments = tuple(self(value, depth) for value in arguments)
        state = self(call.state, depth)
        items = [self(item, depth) for item in call.items]
        known = _constructor(module, name)
        if known is None:
            return Unknown(f"{module}.{name}", arguments, state)
        return known(arguments, state, items)


def _constructor(module: str, name: str) -> Callable | None:
    """Returns what rebuilds (arguments, state, items) of a class or function, or None."""
    if _NUMPY.fullmatch(module):
        return {
            "_reconstruct": _array,
            "ndarray": _array,
            "dtype": _dtype,
            "scalar": _scalar,
            "_frombuffer": _from_buffer,
        }.get(name)
    if _SPARSE.fullmatch(module):
        kind = name[:3]
        return (
            _compressed(kind)
            if name in ("csc_matrix", "csr_matrix", "csc_array", "csr_array")
            else _coordinates
            if name in ("coo_matrix", "coo_array")
            else None
        )
    return {
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): _ordered,
        ("collections", "defaultdict"): lambda a, s, items: dict(items),
        ("argparse", "Namespace"): lambda a, s, i: dict(s) if isinstance(s, dict) else {},
        ("torch._utils", "_rebuild_parameter"): _first,
        ("torch.nn.parameter", "Parameter"): _first,
        ("torch", "Size"): lambda a, s, i: tuple(a[0]) if a else (),
        ("chumpy.ch", "Ch"): _chumpy,
        ("chumpy.reordering", "Select"): _select,
        ("__builtin__", "set"): lambda a, s, i: set(*a[:1]),
        ("builtins", "set"): lambda a, s, i: set(*a[:1]),
        ("__builtin__", "bytearray"): _encode,
        ("builtins", "bytearray"): _encode,
    }.get((module, name))


def _first(arguments, state, items):
    if not arguments:
        raise ValueError("a parameter without its tensor")
    return arguments[0]


def _encode(arguments, state, items) -> bytes:
    text = arguments[0] if arguments else b""
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


def _ordered(arguments, state, items) -> dict:
    pairs = list(arguments[0]) if arguments else []
    return dict(pairs) | dict(items)


def _dtype(arguments, state, items) -> np.dtype:
    text = arguments[0] if arguments else None
    text = text.decode("ascii") if isinstance(text, bytes) else text
    if not isinstance(text, str) or not _KIND.fullmatch(text):
        raise ValueError(f"arrays of type {text!r} are not read")
    kind = np.dtype(text)
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
    order = order.decode("ascii") if isinstance(order, bytes) else order
    if order not in ("<", ">", "|", "="):
        raise ValueError(f"an unknown order of bytes, {order!r}")
    return kind.newbyteorder(order)


def _array(arguments, state, items) -> np.ndarray:
    if not (isinstance(state, tuple) and len(state) == 5):
        raise ValueError("an array without its state")
    _, shape, kind, fortran, data = state
    return _filled(shape, kind, data, bool(fortran))


def _from_buffer(arguments, state, items) -> np.ndarray:
    if len(arguments) != 4:
        raise ValueError("a buffer without type, shape and order")
    data, kind, shape, order = arguments
    return _filled(shape, kind, data, order == "F")


def _filled(shape, kind, data, fortran: bool) -> np.ndarray:
    if not isinstance(kind, np.dtype):
        raise ValueError(f"an array of type {type(kind).__name__}")
    if isinstance(data, list):
        raise ValueError("an array of Python objects is not read")
    data = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(data, bytes | bytearray):
        raise ValueError("an array without bytes")
    shape = _shape(shape)
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"an array {kind} {shape} has {len(data)} bytes")
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def _shape(shape) -> tuple[int, ...]:
    if not isinstance(shape, tuple | list) or len(shape) > 32:
        raise ValueError("an array without a shape")
    if not all(type(side) is int and 0 <= side < 1 << 48 for side in shape):
        raise ValueError(f"an array of shape {tuple(shape)}")
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
    return found


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
        if len(pointers) != lines + 1 or (counts < 0).any() or counts.sum() != len(data):
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
    fits = chosen.dtype.kind in "iu" and len(chosen) == math.prod(shape) <= LARGEST
    if not fits or (len(chosen) and not 0 <= chosen.min() <= chosen.max() < source.size):
        raise ValueError("a chumpy selection that does not fit")
    return source.ravel()[chosen].reshape(shape)
