"""What `maj tune` found: the fastest road of equations on the machine at hand, kept for later compilations.

The choices of a machine, a compiler and a number of threads are one file in a folder of the
user's cache, a JSON object of road and details by the key of an equation (see
`choosing.Choosing.options`).  What cannot be read, or names a road that an equation cannot take, is
as if it were not there.  `MAJUSCULE_CACHE=0` turns it off with the cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path

from .cache import Cache, fingerprint
from .target import Target, cpu_identity

_FOLDER = "tuned"


def tuned_choices(target: Target) -> dict[str, tuple[str, str]]:
    """Road and details by the key of an equation, as they were found on this machine; none for another's target."""
    store = _store()
    stored = None if store is None or not target.native else store.get(_key(target))
    return {} if stored is None else _read(stored)


def is_kept(target: Target) -> bool:
    """Whether there is a place where choices for a target are kept."""
    return target.native and _store() is not None


def keep(target: Target, measured: Collection[str], choices: Mapping[str, tuple[str, str]]) -> None:
    """Keep choices in place of what was known of the `measured` equations; what is known of others stays."""
    store = _store()
    if store is not None and target.native:
        others = {key: choice for key, choice in tuned_choices(target).items() if key not in measured}
        store.put(_key(target), json.dumps(others | dict(choices)).encode())


def forget(target: Target) -> None:
    """Remove what was found on this machine."""
    store = _store()
    if store is not None:
        store.put(_key(target), b"{}")


def _key(target: Target) -> str:
    return fingerprint("tuned", target, cpu_identity(), metadata.version("majuscule"))


def _read(stored: bytes) -> dict[str, tuple[str, str]]:
    """The entries that have the right form."""
    try:
        found = json.loads(stored)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        key: (value[0], value[1])
        for key, value in found.items()
        if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)
    }


def _store() -> Cache | None:
    """The folder of choices; None if caches are turned off."""
    if os.environ.get("MAJUSCULE_CACHE") == "0":
        return None
    if os.environ.get("MAJUSCULE_CACHE_DIR"):
        return Cache(Path(os.environ["MAJUSCULE_CACHE_DIR"]) / _FOLDER)
    import platformdirs

    return Cache(platformdirs.user_cache_path("majuscule") / _FOLDER)
