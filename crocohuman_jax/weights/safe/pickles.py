"""Reads a pickle as data: its opcodes are followed, but nothing that it names is ever called.

A pickle is a program for a small stack machine. This module runs it without the dangerous part:
where a pickle would import and call something, an inert `Call` is left in the tree. `rebuild`
turns the calls that it knows, such as those for arrays, into values, and the rest into `Unknown`.

Time and memory are bounded too: the number of opcodes and the work of each are limited. Long
integers, and keys that are slow to hash or compare, are refused because they would break the bound.
"""

import codecs
import dataclasses
import io
import pickletools
import re
from collections.abc import Iterable
from typing import Any

MOST_OPCODES = 200_000  # the largest CroCo with its optimizer state has 70,000
DEEPEST = 400  # open marks; a mark is where a container's values begin
LONGEST_NUMBER = 64  # bytes of an integer
LONGEST_NAME = 200  # characters of a module or class
# Integers below this are their own hash, so a file cannot choose keys that collide.
LARGEST_KEY = 1 << 60
# A text as Python 2 writes it between quotes: backslashes only before these characters.
_ESCAPED = re.compile(rb"[^\\]*+(?:\\(?:[\\'\"nrt]|x[0-9a-fA-F]{2})[^\\]*+)*+", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Global:
    """The name of something that a pickle would import."""

    module: str
    name: str

    def __str__(self):
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to something outside the pickle, such as a storage of a torch file."""

    id: Any


@dataclasses.dataclass(eq=False, slots=True)
class Call:
    """A call that a pickle would make: function, arguments, and the state it would set."""

    function: Any
    arguments: Any
    state: Any = None
    items: list = dataclasses.field(default_factory=list)  # set on the result or appended


def read(data: bytes, what: str = "the pickle", whole: bool = True) -> tuple[Any, int]:
    """Returns the tree of values that a pickle describes, and the byte where the pickle ends.

    Args:
        data: bytes that begin with the pickle.
        what: name of the pickle in errors.
        whole: whether the pickle must use all of the data.

    Returns:
        Plain Python values and containers, `Global`, `Persistent` and `Call`; and the number of
        bytes read.

    Raises:
        ValueError: the pickle is damaged, exceeds a limit, or uses an unsupported opcode.
    """
    file = io.BytesIO(data)
    try:
        result = _Machine().run(file)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{what} cannot be read: {error}.") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"{what} cannot be read: it is too deep or too large.") from error
    end = file.tell()
    if whole and end != len(data):
        raise ValueError(f"{what} is followed by {len(data) - end} bytes that do not belong to it.")
    return result, end


def keyed(pairs: Iterable[tuple[Any, Any]]) -> dict:
    """Returns pairs as a dictionary.

    Raises:
        ValueError: a key has a type that cannot be looked up in constant time.
    """
    return {_checked(key): value for key, value in pairs}


def distinct(values: Iterable) -> set:
    """Returns values as a set.

    Raises:
        ValueError: a value cannot be looked up in constant time, as in `keyed`.
    """
    return {_checked(value) for value in values}


def _checked(key):
    """Returns a key, or raises a ValueError if looking it up could be slow.

    Tuples are refused: one may hold another many times over, and each would be hashed every time.
    """
    if isinstance(key, int) and abs(key) >= LARGEST_KEY:
        raise ValueError(f"a key of {key.bit_length()} bits is too large")
    by_itself = type(key).__hash__ is object.__hash__  # hashed by identity, not by content
    if not by_itself and not isinstance(key, str | bytes | int | float | Global | None):
        raise ValueError(f"a key of type {type(key).__name__} is not supported")
    return key


class _Mark:
    pass


_MARK = _Mark()


class _Machine:
    """Holds the stack, its marks and the memo, and one method `on_<name>` for each opcode."""

    def __init__(self):
        self.stack: list = []
        self.memo: dict = {}
        self.marks = 0

    def run(self, file: io.BytesIO):
        """Follows the opcodes of a file to the end of the pickle and returns its value."""
        known = {
            code: (reader, getattr(self, f"on_{name}", None), name)
            for code, (name, reader) in _OPCODES.items()
        }
        for _ in range(MOST_OPCODES):
            code = file.read(1)
            if code == b".":
                return self._end()
            if code not in known:
                raise ValueError(f"it has the byte {code!r} where an opcode should be")
            reader, method, name = known[code]
            if method is None:
                raise ValueError(f"the opcode {name.upper()} is not supported")
            method(reader(file) if reader else None)
        raise ValueError(f"it has more than {MOST_OPCODES} opcodes")

    def _end(self):
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise ValueError(f"it ends with {len(self.stack)} values instead of one")
        return self.stack[0]

    def _top(self):
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("the stack is empty")
        return self.stack[-1]

    def _pop(self, count: int) -> tuple:
        values = tuple(self.stack[-count:])
        if len(values) != count or any(value is _MARK for value in values):
            raise ValueError("the stack is empty")
        del self.stack[-count:]
        return values

    def _pop_one(self):
        value = self._top()
        del self.stack[-1]
        return value

    def _pop_to_mark(self) -> list:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                values = self.stack[at + 1 :]
                del self.stack[at:]
                self.marks -= 1
                return values
        raise ValueError("a mark is missing")

    def on_proto(self, version):
        if not 2 <= version <= 5:
            raise ValueError(f"protocol {version} is not supported; 2 to 5 are")

    def on_frame(self, length):
        pass

    # Values.

    def on_text(self, value):
        self.stack.append(value)

    on_float = on_binfloat = on_text
    on_string = on_binstring = on_short_binstring = on_text
    on_unicode = on_binunicode = on_short_binunicode = on_binunicode8 = on_text
    on_binbytes = on_short_binbytes = on_binbytes8 = on_bytearray8 = on_text
    on_binint = on_binint1 = on_binint2 = on_text

    def on_int(self, value):
        if value.bit_length() > 8 * LONGEST_NUMBER:
            raise ValueError(
                f"an integer of {value.bit_length()} bits exceeds the limit of {8 * LONGEST_NUMBER}"
            )
        self.stack.append(value)

    on_long = on_long1 = on_long4 = on_int

    def on_none(self, _):
        self.stack.append(None)

    def on_newtrue(self, _):
        self.stack.append(True)

    def on_newfalse(self, _):
        self.stack.append(False)

    # Containers.

    def on_empty_list(self, _):
        self.stack.append([])

    def on_empty_dict(self, _):
        self.stack.append({})

    def on_empty_set(self, _):
        self.stack.append(set())

    def on_empty_tuple(self, _):
        self.stack.append(())

    def on_tuple1(self, _):
        self.stack.append(self._pop(1))

    def on_tuple2(self, _):
        self.stack.append(self._pop(2))

    def on_tuple3(self, _):
        self.stack.append(self._pop(3))

    def on_tuple(self, _):
        self.stack.append(tuple(self._pop_to_mark()))

    def on_list(self, _):
        self.stack.append(self._pop_to_mark())

    def on_frozenset(self, _):
        self.stack.append(frozenset(distinct(self._pop_to_mark())))

    def on_dict(self, _):
        self.stack.append(_paired(self._pop_to_mark()))

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
            raise ValueError(f"it appends to a {type(target).__name__}")

    def on_additems(self, _):
        values, target = self._pop_to_mark(), self._top()
        if not isinstance(target, set):
            raise ValueError(f"it adds to a {type(target).__name__} as if it were a set")
        target.update(distinct(values))

    def on_setitem(self, _):
        self._update(self._pop(2))

    def on_setitems(self, _):
        self._update(self._pop_to_mark())

    def _update(self, values):
        target, pairs = self._top(), _paired(values)
        if isinstance(target, Call):
            target.items.extend(pairs.items())
        elif isinstance(target, dict):
            target.update(pairs)
        else:
            raise ValueError(f"it sets an item of a {type(target).__name__}")

    # The stack and the memo.

    def on_mark(self, _):
        self.marks += 1
        if self.marks > DEEPEST:
            raise ValueError(f"its containers are nested more than {DEEPEST} deep")
        self.stack.append(_MARK)

    def on_pop_mark(self, _):
        self._pop_to_mark()

    def on_pop(self, _):
        if not self.stack:
            raise ValueError("the stack is empty")
        if self.stack.pop() is _MARK:
            self.marks -= 1

    def on_dup(self, _):
        self.stack.append(self._top())

    def on_get(self, key):
        if key not in self.memo:
            raise ValueError(f"it recalls value {key}, which it never stored")
        self.stack.append(self.memo[key])

    on_binget = on_long_binget = on_get

    def on_put(self, key):
        self.memo[_checked(key)] = self._top()

    on_binput = on_long_binput = on_put

    def on_memoize(self, _):
        self.memo[len(self.memo)] = self._top()

    # Opcodes that would import or call something. They only record it.

    def _global(self, module, name) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("the name of something to import is not a text")
        if max(len(module), len(name)) > LONGEST_NAME:
            raise ValueError(
                f"the name of something to import is longer than {LONGEST_NAME} characters"
            )
        return Global(module, name)

    def on_global(self, value):
        module, _, name = value.partition(" ")
        self.stack.append(self._global(module, name))

    def on_stack_global(self, _):
        self.stack.append(self._global(*self._pop(2)))

    def on_reduce(self, _):
        self.stack.append(Call(*self._pop(2)))

    on_newobj = on_reduce

    def on_newobj_ex(self, _):
        kind, arguments, named = self._pop(3)
        if not isinstance(arguments, tuple) or not isinstance(named, dict):
            raise ValueError("the arguments of a new object must be a tuple and a dictionary")
        self.stack.append(Call(kind, (arguments, named) if named else arguments))

    def on_inst(self, value):
        module, _, name = value.partition(" ")
        self.stack.append(Call(self._global(module, name), tuple(self._pop_to_mark())))

    def on_obj(self, _):
        values = self._pop_to_mark()
        if not values:
            raise ValueError("it makes an object without a class")
        self.stack.append(Call(values[0], tuple(values[1:])))

    def on_build(self, _):
        state, target = self._pop_one(), self._top()
        if not isinstance(target, Call):
            raise ValueError(f"it sets the state of a {type(target).__name__}")
        target.state = state

    def on_persid(self, value):
        self.stack.append(Persistent(value))

    def on_binpersid(self, _):
        self.stack.append(Persistent(self._pop_one()))


def _paired(values) -> dict:
    if len(values) % 2:
        raise ValueError("it has a key without a value")
    return keyed(zip(values[::2], values[1::2], strict=True))


def _quoted(file: io.BytesIO) -> str:
    """Reads a text that Python 2 wrote without an encoding: each byte becomes one character."""
    line = file.readline().removesuffix(b"\n")
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
        raise ValueError("a text is not in quotes")
    if not _ESCAPED.fullmatch(line, 1, len(line) - 1):
        raise ValueError("a text has an invalid backslash escape")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


# pickletools reads texts of protocol 0 as ASCII, which fails for arrays that Python 2 wrote.
_OPCODES = {
    opcode.code.encode("latin-1"): (opcode.name.lower(), opcode.arg and opcode.arg.reader)
    for opcode in pickletools.opcodes
} | {b"S": ("string", _quoted)}
