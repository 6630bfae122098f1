"""What a pickle of torch says, read opcode by opcode: a pickle is a program, and this runs none.

`pickletools` parses the opcodes. A stack of plain values follows the few that torch's files of tensors are made of; the
names of classes and functions in them stay names (`Name`), and what such a name would have done is done here, for the
names of `KNOWN` alone. All else is refused by its name.
"""

import io
import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nearsight.errors import InputError

#: The largest number of opcodes: a network of 64 layers has some thousand.
MOST_OPCODES = 1_000_000

#: No storage has so many numbers.
TOO_MANY = 1 << 48

_MARK = object()


@dataclass(frozen=True)
class Name:
    """A class or a function that a pickle names, such as `torch FloatStorage`."""

    name: str


@dataclass
class Record:
    """An object of a class: items, where it is a dictionary, and attributes."""

    name: str
    items: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """Numbers in a row, by their key: `kind` is torch's name of their type; content: their bytes, where known."""

    kind: str
    key: str
    count: int
    content: bytes | None = None


@dataclass(frozen=True)
class StridedTensor:
    """A tensor as a view of a storage: first number, lengths, steps."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pickle(
    handle: io.BytesIO, path: str, calls: Mapping[str, Callable], objects: frozenset[str] = frozenset()
) -> Any:
    """The value of the next pickle of a file, which is left positioned after it.

    path: for messages; calls: name -> what stands for calling it, a function of its arguments; objects: classes of
    which an object may be, empty and then with its attributes. Raises InputError for an opcode, a name or a shape of
    the stack that these files do not have.
    """
    machine = _Machine(path, calls, objects)
    try:
        return machine.run(pickletools.genops(handle))
    except InputError:
        raise
    # what pickletools finds (ValueError and others), a stack that is too short, a key that is none
    except Exception as error:
        raise InputError(f"{path}: expected a whole pickle of tensors, got {type(error).__name__}: {error}.") from None


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, path: str, calls: Mapping[str, Callable], objects: frozenset[str]) -> None:
        self.path, self.calls, self.objects = path, calls, objects
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, opcodes: Iterator[tuple]) -> Any:
        for number, (opcode, argument, _) in enumerate(opcodes):
            if number > MOST_OPCODES:
                raise InputError(f"{self.path}: expected at most {MOST_OPCODES} opcodes in a pickle, got more.")
            if opcode.name == "STOP":
                return self.pop()
            if opcode.name in _PUSHED:
                self.stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name]())
            else:
                step = _STEPS.get(opcode.name)
                if step is None:
                    raise InputError(
                        f"{self.path}: expected the opcodes of a pickle of tensors, got {opcode.name}. Save the "
                        "state of the network again with torch.save(network.state_dict())."
                    )
                step(self, argument)
        raise InputError(f"{self.path}: expected a whole pickle, got one without an end.")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark in place of a value")
        return value

    def pop_to_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("no mark on the stack")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def pop_some(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def tuple_to_mark(self) -> None:
        # not as an argument: the list of the mark is taken off the stack first
        values = tuple(self.pop_to_mark())
        self.stack.append(values)

    def push_name(self, name: str) -> None:
        if name not in self.calls and name not in self.objects and name not in STORAGES:
            raise InputError(
                f"{self.path}: expected a pickle of tensors, got one that names {name[:80]!r}, which is not read, for "
                "a pickle can run any code. Save the state of the network and the scalers alone, as MALA does."
            )
        self.stack.append(Name(name))

    def push_stacked_name(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self.push_name(f"{module} {name}")

    def set_items(self, pairs: list[Any]) -> None:
        holder = self.stack[-1]
        items = holder.items if isinstance(holder, Record) else holder
        if type(items) is not dict or len(pairs) % 2:
            raise ValueError("items of what is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) not in (str, int):
                raise ValueError(f"a key of type {type(key).__name__}")
            items[key] = value

    def append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("an element of what is no list")
        self.stack[-1].extend(values)

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or function.name not in self.calls or type(arguments) is not tuple:
            raise ValueError("a call of what is no function of tensors")
        self.stack.append(self.calls[function.name](*arguments))

    def make_object(self) -> None:
        arguments, kind = self.pop(), self.pop()
        if not isinstance(kind, Name) or kind.name not in self.objects or arguments != ():
            raise ValueError("an object of another class")
        self.stack.append(Record(kind.name))

    def set_attributes(self) -> None:
        state, holder = self.pop(), self.stack[-1]
        if type(state) is not dict or not isinstance(holder, Record):
            raise ValueError("attributes of what has none")
        holder.attributes.update(state)

    def push_storage(self) -> None:
        self.stack.append(_storage_of(self.pop()))


def _storage_of(identity: Any) -> Storage:
    """What torch's persistent identity names: ("storage", type, key, device, number of elements[, None])."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError("a persistent identity of no storage")
    _, kind, key, _, count, *view = identity
    if not isinstance(kind, Name) or kind.name not in STORAGES or type(key) is not str or type(count) is not int:
        raise ValueError("a storage of another kind")
    if not 0 <= count < TOO_MANY or view not in ([], [None]):
        raise ValueError("a storage that is a view of another, or of another length")
    return Storage(kind.name, key, count)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StridedTensor:
    """A tensor from torch's arguments; whether it has a gradient, and its hooks, do not count."""
    numbers = [offset, *shape, *strides]
    if not isinstance(storage, Storage) or any(type(n) is not int or not 0 <= n < TOO_MANY for n in numbers):
        raise ValueError("a tensor of no storage")
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides) or len(shape) > 8:
        raise ValueError("a tensor of other dimensions")
    return StridedTensor(storage, offset, shape, strides)


def _make_dictionary() -> Record:
    return Record("collections OrderedDict")


#: torch's types of storage -> numpy's of their numbers.
STORAGES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
}

#: Names that files of tensors call, with what stands for them.
KNOWN: dict[str, Callable] = {
    "collections OrderedDict": _make_dictionary,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
}

#: Opcodes whose argument is the value.
_PUSHED = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
                     "BINBYTES", "SHORT_BINBYTES"})  # fmt: skip

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}

_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, version: None,
    "FRAME": lambda machine, length: None,
    "TUPLE1": lambda machine, _: machine.pop_some(1),
    "TUPLE2": lambda machine, _: machine.pop_some(2),
    "TUPLE3": lambda machine, _: machine.pop_some(3),
    "TUPLE": lambda machine, _: machine.tuple_to_mark(),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "BINPUT": lambda machine, place: machine.memo.__setitem__(place, machine.stack[-1]),
    "LONG_BINPUT": lambda machine, place: machine.memo.__setitem__(place, machine.stack[-1]),
    "MEMOIZE": lambda machine, _: machine.memo.__setitem__(len(machine.memo), machine.stack[-1]),
    "BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "GLOBAL": lambda machine, name: machine.push_name(name),
    "STACK_GLOBAL": lambda machine, _: machine.push_stacked_name(),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.make_object(),
    "BUILD": lambda machine, _: machine.set_attributes(),
    "BINPERSID": lambda machine, _: machine.push_storage(),
}
