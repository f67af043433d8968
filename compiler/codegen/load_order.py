"""In which order weights are prepared: so that little memory is needed while a module is loaded.

A weight that only `majuscule_prepare` reads leaves memory once it has been read for the last
time, but what is made of it stays.  So the largest go first, while there is little else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from .actions import Action, Plan, touched
from .actions import written as written_by
from .kernel import Stored
from .storage import BYTES


def order_of_loading(plan: Plan) -> list[Action]:
    """The actions of `plan.prepare`, those first that let most memory go; none before what it depends on."""
    needs = _dependencies(plan.prepare)
    kept = {name for action in plan.run for name in touched(action)}
    passing = [{name for name in touched(action) if name not in kept} for action in plan.prepare]
    users = Counter(name for names in passing for name in names)
    size = {name: _bytes(plan.buffers[name]) for name in users}

    def freed(position: int) -> int:
        """The bytes of those buffers that nothing else uses any more."""
        return sum(size[name] for name in passing[position] if users[name] == 1)

    order: list[Action] = []
    while needs:
        ready = (position for position, before in needs.items() if not before)
        chosen = max(ready, key=lambda position: (freed(position), -position))
        order.append(plan.prepare[chosen])
        users.subtract(passing[chosen])
        del needs[chosen]
        for before in needs.values():
            before.discard(chosen)
    return order


def _bytes(stored: Stored) -> int:
    return (stored.count.constant or 0) * BYTES[stored.dtype]


def _dependencies(actions: Sequence[Action]) -> dict[int, set[int]]:
    """For each action, by position, those before it that write what it uses, or use what it writes."""
    found: dict[int, set[int]] = {}
    users: defaultdict[str, list[int]] = defaultdict(list)
    written: list[set[str]] = []
    for position, action in enumerate(actions):
        written.append(written_by(action))
        found[position] = set()
        for name in dict.fromkeys(touched(action)):
            found[position] |= {user for user in users[name] if name in written[user] | written[position]}
            users[name].append(position)
    return found
