"""What a plan is made of: actions on buffers that have names, and which memory each buffer is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ...dsl.integers import Integer, Symbol
from ..graph import Note
from . import work
from .kernel import Kernel, Stored
from .schedule import ANY_WAY, Way


@dataclass(frozen=True)
class Launch:
    """Run a kernel on buffers: `operands` in the order of its tensors, `result`, and working memory if it needs any.

    `origin` is the tensor it makes, `counted` the kernel that says how much work it is, if that is another one.
    `way` says what road was chosen for it.  `samples` is the size of the batch, if each sample of the
    result depends on that sample of the operands alone (see `micro_batches`).
    """

    kernel: Kernel
    operands: tuple[str, ...]
    result: str
    origin: str
    scratch: str | None = None
    counted: Kernel | None = None
    way: Way = ANY_WAY
    samples: Symbol | None = None

    def flops(self) -> Integer:
        """Arithmetic operations (see `work`)."""
        return work.operations(self.counted or self.kernel)

    def bytes_moved(self) -> Integer:
        """Bytes of operands and result (see `work`)."""
        return work.bytes_moved(self.counted or self.kernel)


@dataclass(frozen=True)
class Draw:
    """Fill a buffer with random numbers; `origin` is the tensor it makes."""

    result: str
    stream: int
    origin: str


@dataclass(frozen=True)
class Loop:
    """Actions repeated for `index` in `lower..upper`, downwards if `reverse`; `origin` is the recurrence."""

    index: str
    lower: Integer
    upper: Integer
    reverse: bool
    actions: tuple[Action, ...]
    origin: str


@dataclass(frozen=True)
class Several:
    """Launches that are one step together; `origin` is the tensor that they make."""

    actions: tuple[Launch, ...]
    origin: str


@dataclass(frozen=True)
class Guarded:
    """An action that runs only where the truth value in the buffer `condition` holds and no check has failed."""

    action: Launch | Draw | Loop | Several
    condition: str

    @property
    def origin(self) -> str:
        """The tensor that the action makes."""
        return self.action.origin


Action = Launch | Draw | Loop | Several | Guarded


def renamed(action: Action, names: Mapping[str, str]) -> Action:
    """The action on other buffers; those without another name stay."""

    def other(name: str) -> str:
        return names.get(name, name)

    def launch(action: Launch) -> Launch:
        scratch = None if action.scratch is None else other(action.scratch)
        return replace(
            action, operands=tuple(map(other, action.operands)), result=other(action.result), scratch=scratch
        )

    if isinstance(action, Launch):
        return launch(action)
    if isinstance(action, Draw):
        return replace(action, result=other(action.result))
    if isinstance(action, Several):
        return replace(action, actions=tuple(map(launch, action.actions)))
    if isinstance(action, Guarded):
        inner = renamed(action.action, names)
        assert not isinstance(inner, Guarded)
        return replace(action, action=inner, condition=other(action.condition))
    return replace(action, actions=tuple(renamed(inner, names) for inner in action.actions))


@dataclass(frozen=True)
class Storing:
    """A buffer of a parameter or of state takes what another buffer holds at the end, where a condition holds."""

    target: str
    source: str
    condition: str | None


@dataclass(frozen=True)
class MicroBatches:
    """Actions in a row, by their places, that run for `most` samples or fewer at a time, until all are done.

    `symbol` is the size of the batch.  Buffers named in `inside` are used by them alone, and hold the samples of
    one turn.
    """

    during: range
    symbol: Symbol
    most: int
    inside: frozenset[str]


@dataclass
class Plan:
    """Actions at load (`prepare`) and per call (`run`), and all buffers by name.

    `places` maps a buffer's name to its kind: input, parameter, state, constant, prepared,
    output or arena.  `roots` maps a tensor that a kernel leaves to the one that it starts from:
    a sum before its bias, say.  `stores` are what is still to be kept (see `storing`), `notes` tell of choices,
    `batches` are the stretches of `run` that do a part of the batch at a time (see `micro_batches`).
    """

    prepare: list[Action] = field(default_factory=list)
    run: list[Action] = field(default_factory=list)
    buffers: dict[str, Stored] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    stores: list[Storing] = field(default_factory=list)
    notes: tuple[Note, ...] = ()
    batches: tuple[MicroBatches, ...] = ()


def touched(action: Action) -> list[str]:
    """Names of all buffers that an action reads or writes."""
    if isinstance(action, Launch):
        return [*action.operands, action.result, *([] if action.scratch is None else [action.scratch])]
    if isinstance(action, Draw):
        return [action.result]
    if isinstance(action, Guarded):
        return [*touched(action.action), action.condition]
    return [name for inner in action.actions for name in touched(inner)]


def written(action: Action) -> set[str]:
    """Names of all buffers that an action writes."""
    if isinstance(action, Launch):
        return {action.result} if action.scratch is None else {action.result, action.scratch}
    if isinstance(action, Draw):
        return {action.result}
    if isinstance(action, Guarded):
        return written(action.action)
    return {name for inner in action.actions for name in written(inner)}
