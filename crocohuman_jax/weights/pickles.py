"""Reads a pickle as data: its opcodes are followed, but nothing that it names is ever called.

A pickle is a program for a small stack machine. Here is that machine without its dangerous part:
where a pickle would import and call, an inert `Call` is left in the tree. `objects` rebuilds from
these what it knows, such as arrays, and leaves the rest as inert `Unknown`.
"""

import dataclasses
import io
import pickletools
from typing import Any

MOST_OPCODES = 5_000_000
DEEPEST = 400  # marks within marks
LONGEST_NUMBER = 64  # bytes of an integer


@dataclasses.dataclass(frozen=True)
class Global:
    """The name of something that a pickle would import."""

    module: str
    name: str

    def __str__(self):
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True)
class Persistent:
    """What a pickle names outside of itself, such as a storage of a torch file."""

    id: Any


@dataclasses.dataclass(eq=False)
class Call:
    """What a pickle would make by calling: function, arguments, and the state it would set."""

    function: Any
    arguments: Any
    state: Any = None
    items: list = dataclasses.field(default_factory=list)  # that it would set or append


class _Mark:
    pass


_MARK = _Mark()
# Text of Python 2 came without an encoding; as latin-1 every byte survives.
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read(data: bytes, what: str = "the pickle", whole: bool = True) -> tuple[Any, int]:
    """Returns the tree that a pickle describes, and where it ends.

    Args:
        data: what begins with it.
        what: its name in errors.
        whole: whether it has to end where the data do.

    Returns:
        Python's own plain values and containers, `Global`, `Persistent` and `Call`; and the number
        of bytes read.

    Raises:
        ValueError: the pickle is broken, larger than any honest one, or uses what is not read.
    """
    machine, file, end = _Machine(), io.BytesIO(data), 0
    try:
        for count, (opcode, value, position) in enumerate(pickletools.genops(file)):
            if count > MOST_OPCODES:
                raise ValueError(f"it has more than {MOST_OPCODES} opcodes")
            end = position + 1
            if opcode.name == "STOP":
                break
            machine.step(opcode.name, value)
        result = machine.end()
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{what} is not read: {error}.") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"{what} is not read: it is too deep or too large.") from error
    if whole and end != len(data):
        raise ValueError(f"{what} is followed by {len(data) - end} bytes that are none of it.")
    return result, end


class _Machine:
    """The stack, its marks and the memo."""

    def __init__(self):
        self.stack: list = []
        self.memo: dict = {}
        self.marks = 0

    def end(self):
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise ValueError(f"it ends with {len(self.stack)} values instead of one")
        return self.stack[0]

    def step(self, name: str, value) -> None:
        """Follows one opcode."""
        stack = self.stack
        if name in _VALUES:
            if isinstance(value, int) and value.bit_length() > 8 * LONGEST_NUMBER:
                raise ValueError(f"an integer of {value.bit_length()} bits")
            stack.append(value)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            stack.append(self._pop(_TUPLES[name]))
        elif name in _GETS:
            stack.append(self.memo[int(value)])
        elif name in _PUTS:
            self.memo[int(value)] = self._top()
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top()
        elif name == "MARK":
            self.marks += 1
            if self.marks > DEEPEST:
                raise ValueError(f"containers within containers, {DEEPEST} deep")
            stack.append(_MARK)
        elif name not in ("PROTO", "FRAME"):
            known = getattr(self, f"on_{name.lower()}", None)
            if known is None:
                raise ValueError(f"the opcode {name} is not supported")
            known(value)

    def _top(self):
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("the stack is empty")
        return self.stack[-1]

    def _pop(self, count: int) -> tuple:
        values = tuple(self.stack[len(self.stack) - count :]) if count else ()
        if len(values) != count or any(value is _MARK for value in values):
            raise ValueError("the stack is empty")
        if count:
            del self.stack[-count:]
        return values

    def _pop_to_mark(self) -> list:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                values = self.stack[at + 1 :]
                del self.stack[at:]
                self.marks -= 1
                return values
        raise ValueError("a mark is missing")

    def _pop_one(self):
        return self._pop(1)[0]

    def on_tuple(self, _):
        self.stack.append(tuple(self._pop_to_mark()))

    def on_list(self, _):
        self.stack.append(self._pop_to_mark())

    def on_frozenset(self, _):
        self.stack.append(frozenset(self._pop_to_mark()))

    def on_dict(self, _):
        self.stack.append(_pairs(self._pop_to_mark()))

    def on_append(self, _):
        self._extend([self._pop_one()])

    def on_appends(self, _):
        self._extend(self._pop_to_mark())

    def _extend(self, values):
        target = self._top()
        if isinstance(target, Call):
            target.items.extend(values)
        elif isinstance(target, list):
            target.extend(values)
        else:
            raise ValueError(f"appending to a {type(target).__name__}")

    def on_additems(self, _):
        values, target = self._pop_to_mark(), self._top()
        if not isinstance(target, set):
            raise ValueError(f"adding to a {type(target).__name__}")
        target.update(values)

    def on_setitem(self, _):
        self._update(self._pop(2))

    def on_setitems(self, _):
        self._update(self._pop_to_mark())

    def _update(self, values):
        target, pairs = self._top(), _pairs(values)
        if isinstance(target, Call):
            target.items.extend(pairs.items())
        elif isinstance(target, dict):
            target.update(pairs)
        else:
            raise ValueError(f"setting an item of a {type(target).__name__}")

    def on_pop_mark(self, _):
        self._pop_to_mark()

    def on_pop(self, _):
        if self.stack.pop() is _MARK:
            self.marks -= 1

    def on_dup(self, _):
        self.stack.append(self._top())

    def on_global(self, value):
        module, _, name = value.partition(" ")
        self.stack.append(Global(module, name))

    def on_stack_global(self, _):
        module, name = self._pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("the name of something to import is no text")
        self.stack.append(Global(module, name))

    def on_reduce(self, _):
        function, arguments = self._pop(2)
        self.stack.append(Call(function, arguments))

    def on_newobj(self, _):
        kind, arguments = self._pop(2)
        self.stack.append(Call(kind, arguments))

    def on_newobj_ex(self, _):
        kind, arguments, _ = self._pop(3)
        self.stack.append(Call(kind, arguments))

    def on_inst(self, value):
        module, _, name = value.partition(" ")
        self.stack.append(Call(Global(module, name), tuple(self._pop_to_mark())))

    def on_obj(self, _):
        kind, *arguments = self._pop_to_mark()
        self.stack.append(Call(kind, tuple(arguments)))

    def on_build(self, _):
        state, target = self._pop_one(), self._top()
        if not isinstance(target, Call):
            raise ValueError(f"setting the state of a {type(target).__name__}")
        target.state = state

    def on_persid(self, value):
        self.stack.append(Persistent(value))

    def on_binpersid(self, _):
        self.stack.append(Persistent(self._pop_one()))


def _pairs(values) -> dict:
    if len(values) % 2:
        raise ValueError("a key without a value")
    return dict(zip(values[::2], values[1::2], strict=True))
