"""A compiled module as one file.

The file is an uncompressed zip, so any archive tool can look inside:

    manifest.json            names, shapes, versions, target, checksums (see `Artifact`)
    weights.safetensors      parameters and state, in the layout of the program's text
    constants.safetensors    tensors that the compiler computed
    lib/<target>.so          the machine code
    source/<name>.maj        the program it was compiled from

The manifest holds the SHA-256 of every other member; the zip's comment holds that of all
bytes outside of those members, so no byte of the file can change unnoticed.  Reading maps
the file into memory: weights are used where they lie, and those that calls do not read leave
memory once they are prepared.  So a file in use must not be overwritten in place; `write` never
does, it puts a new file in the old one's place.

A module contains machine code.  Checksums tell damage, not intent: run modules from
people you trust, as you would with any program.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy

from . import host
from .arrays import ALIGNMENT, Array
from .buffers import let_go
from .errors import (
    DamagedModule,
    FormatVersionError,
    MissingModule,
    NotAModule,
    TruncatedModule,
    UnreadableModule,
    UnsafeModule,
)
from .manifest import check_manifest
from .tensor_files import map_file, parse_safetensors, safetensors_parts
from .whole_files import whole_file

FORMAT_VERSION = 3

_MANIFEST = "manifest.json"
_WEIGHTS = "weights.safetensors"
_CONSTANTS = "constants.safetensors"
_MEMBER_NAME = re.compile(
    r"manifest\.json|(weights|constants)\.safetensors|lib/[^/\\]+\.so|source/([^/\\]+/)*[^/\\]+\.maj"
)
_START = b"PK\x03\x04"
_FIRST_MEMBER = slice(30, 30 + len(_MANIFEST))  # where a zip has the name of its first member
_COMMENT = b"majuscule sha256 "
_COMMENT_SIZE = len(_COMMENT) + 64
_END_SIZE = 22 + _COMMENT_SIZE
_BLOCK = 1 << 24  # bytes that are checked at a time
_PADDING_FIELD = 0xD935  # a zip extra field that other tools, too, use for alignment

Parts = Sequence[memoryview]
"""The contents of a member, in parts that need not be copied together."""


@dataclass(frozen=True)
class Artifact:
    """What a file of a compiled module holds.

    `manifest` is plain JSON: `name`, `symbols`, `inputs`, `outputs`, `parameters`, `states`,
    `constants`, `prepared`, `buffers`, `arena`, `requirements`, `checks`, `steps` and `target`
    as the compiler states them; a file also has `format`, `versions`, `source_hash`, `members`.
    `weights` are the values of parameters and state; `sources` the texts by file name.
    """

    manifest: Mapping[str, Any]
    library: bytes | memoryview
    weights: Mapping[str, Array]
    constants: Mapping[str, Array] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


# -- writing -------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], artifact: Artifact) -> None:
    """Write a module; the file appears whole or not at all.

    Raises `UnreadableModule` if the system does not let us, and then leaves what was there.
    """
    target = Path(path)
    members = _members(artifact)
    manifest = {
        "format": FORMAT_VERSION,
        "versions": _versions(),
        **artifact.manifest,
        "source_hash": source_hash(artifact.sources),
        "members": {name: {"sha256": _digest(parts), "size": sum(map(len, parts))} for name, parts in members.items()},
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False).encode()
    try:
        with whole_file(target) as file:
            _write_zip(file, {_MANIFEST: [memoryview(text)], **members})
    except OSError as error:
        raise UnreadableModule(f"cannot write {target}: {error.strerror or error}") from error


def source_hash(sources: Mapping[str, str]) -> str:
    """The SHA-256 of the program's texts and their names."""
    digest = hashlib.sha256()
    for name, text in sorted(sources.items()):
        digest.update(f"{name}\0{len(text.encode())}\0{text}".encode())
    return digest.hexdigest()


def _members(artifact: Artifact) -> dict[str, Parts]:
    target = artifact.manifest.get("target", {})
    machine, system = target.get("architecture") or host.machine(), host.target_system(target) or host.system()
    members: dict[str, Parts] = {
        _WEIGHTS: safetensors_parts(artifact.weights),
        _CONSTANTS: safetensors_parts(artifact.constants),
        f"lib/{target.get('kind', 'cpu')}-{machine}-{system}.so": [memoryview(artifact.library)],
    }
    for name, text in artifact.sources.items():
        members[f"source/{name}"] = [memoryview(text.encode())]
    for name in members:
        if not _is_safe(name):
            raise ValueError(f"{name} cannot be a member of a module")
    return members


def _digest(parts: Parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"majuscule": version("majuscule"), "tvm": version("apache-tvm")}


def _write_zip(file: IO[bytes], members: Mapping[str, Parts]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, parts in members.items():
            info = zipfile.ZipInfo(name)  # of 1980, so equal modules are equal files
            info.external_attr = 0o644 << 16
            info.file_size = sum(map(len, parts))
            info.extra = _padding(file.tell(), info)
            with archive.open(info, "w") as member:
                for part in parts:
                    member.write(part)
        archive.comment = bytes(_COMMENT_SIZE)
    file.flush()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
        digest = _frame_digest(contents, _payloads(contents, *_directory(contents)))
    file.seek(-_COMMENT_SIZE, os.SEEK_END)
    file.write(_COMMENT + digest.encode())


def _padding(position: int, info: zipfile.ZipInfo) -> bytes:
    """An extra field that makes a member's data start at a multiple of a cache line."""
    zip64 = info.file_size * 1.05 > zipfile.ZIP64_LIMIT  # zipfile's own rule
    start = position + 30 + len(info.filename.encode()) + (20 if zip64 else 0) + 4
    length = -start % ALIGNMENT
    return struct.pack("<HH", _PADDING_FIELD, length) + bytes(length)


# -- reading -------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> Artifact:
    """Read a module, after checking all of it.

    Raises `MissingModule`, `UnreadableModule`, `NotAModule`, `TruncatedModule`,
    `DamagedModule`, `UnsafeModule`, `FormatVersionError`, or, for one made for another
    machine, `ForeignPlatform` or `ForeignCPU`.
    """
    name = Path(path).name
    try:
        data = map_file(path)
    except FileNotFoundError as error:
        raise MissingModule(f"there is no file {os.fspath(path)}") from error
    except OSError as error:
        raise UnreadableModule(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
    _require_whole(data, name)
    payloads = _checked_payloads(data, name)
    manifest = _checked_manifest(payloads, name)
    try:
        found = Artifact(
            manifest=manifest,
            library=next(payload for member, payload in payloads.items() if member.startswith("lib/")),
            weights=parse_safetensors(payloads[_WEIGHTS]),
            constants=parse_safetensors(payloads[_CONSTANTS]),
            sources={
                member.removeprefix("source/"): bytes(payload).decode()
                for member, payload in payloads.items()
                if member.startswith("source/")
            },
        )
        check_manifest(manifest, found.constants)
    except (KeyError, StopIteration, ValueError) as error:
        raise DamagedModule(f"{name} is damaged: {error}") from error
    host.require_host(manifest["target"], name)
    return found


def _require_whole(data: memoryview, name: str) -> None:
    """Tell a truncated module from a file of another kind by its first and last bytes."""
    start, first = bytes(data[:4]), bytes(data[_FIRST_MEMBER])
    if not _START.startswith(start) or not _MANIFEST.encode().startswith(first):
        raise NotAModule(f"{name} is not a compiled module (`maj compile` makes them)")
    if len(data) < _END_SIZE or data[-_COMMENT_SIZE:][: len(_COMMENT)] != _COMMENT:
        what = "is empty" if not len(data) else "is incomplete: its end is missing or damaged"
        raise TruncatedModule(f"{name} {what}; copy, download or compile it again")


def _checked_payloads(data: memoryview, name: str) -> dict[str, memoryview]:
    """The members' contents, once everything around them is known to be as it was written."""
    damaged = f"{name} is damaged; copy, download or compile it again"
    contents = cast(mmap.mmap, data.obj)
    try:
        infos, end = _directory(contents)
        payloads = _payloads(contents, infos, end)
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError) as error:
        raise DamagedModule(f"{damaged} ({error})") from error
    if _frame_digest(contents, payloads).encode() != data[-64:]:
        raise DamagedModule(damaged)
    for info in infos:
        if not _is_safe(info.filename):
            raise UnsafeModule(f"{name} is not safe to load: it has a member called {info.filename!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise UnsafeModule(f"{name} is not safe to load: its member {info.filename} is compressed or encrypted")
    if len({info.filename.lower() for info in infos}) != len(infos):
        raise UnsafeModule(f"{name} is not safe to load: it has several members of one name")
    return {info.filename: data[start:end] for info, (start, end) in zip(infos, payloads, strict=True)}


def _checked_manifest(payloads: Mapping[str, memoryview], name: str) -> dict[str, Any]:
    """The manifest, once its version is one we know and all members are as it says."""
    try:
        manifest: dict[str, Any] = json.loads(bytes(payloads[_MANIFEST]))
        version = manifest["format"]
        if version > FORMAT_VERSION:
            raise FormatVersionError(
                f"{name} was made by a newer version of Majuscule (its format is {version}, this version reads "
                f"{FORMAT_VERSION}); update with: pip install -U majuscule"
            )
        if version < FORMAT_VERSION:
            raise FormatVersionError(
                f"{name} was made by an older version of Majuscule (its format is {version}, this version reads "
                f"{FORMAT_VERSION}); compile the program again"
            )
        stated = {member: (entry["sha256"], entry["size"]) for member, entry in manifest["members"].items()}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise DamagedModule(f"{name} is damaged: its manifest cannot be understood ({error!r})") from error
    if {*stated, _MANIFEST} != set(payloads):
        raise DamagedModule(f"{name} is damaged: its manifest is incomplete")
    for member, (digest, size) in stated.items():
        payload = payloads[member]
        if len(payload) != size or _mapped_digest(payload) != digest:
            raise DamagedModule(f"{name} is damaged in its part {member}; copy, download or compile it again")
    return manifest


def _mapped_digest(payload: memoryview) -> str:
    """The SHA-256 of part of a mapped file, little of which stays in memory."""
    digest = hashlib.sha256()
    for start in range(0, len(payload), _BLOCK):
        block = payload[start : start + _BLOCK]
        digest.update(block)
        let_go(numpy.frombuffer(block, numpy.uint8))
    return digest.hexdigest()


def _is_safe(member: str) -> bool:
    return _MEMBER_NAME.fullmatch(member) is not None and ".." not in member.split("/") and "\0" not in member


def _directory(contents: mmap.mmap) -> tuple[list[zipfile.ZipInfo], int]:
    """The zip's directory, and where it starts."""
    with zipfile.ZipFile(cast(IO[bytes], contents)) as archive:
        return archive.infolist(), archive.start_dir


def _payloads(contents: mmap.mmap, infos: Sequence[zipfile.ZipInfo], end: int) -> list[tuple[int, int]]:
    """Where each member's contents lie before `end`; ValueError if they overlap."""
    ranges = []
    for info in infos:
        header = info.header_offset
        if not 0 <= header <= end - 30 or contents[header : header + 4] != _START:
            raise ValueError(f"{info.filename!r} is not where the directory says")
        name_length, extra_length = struct.unpack_from("<HH", contents, header + 26)
        start = header + 30 + name_length + extra_length
        ranges.append((start, start + info.compress_size))
    position = 0
    for start, stop in sorted(ranges):
        if start < position or stop > end:
            raise ValueError("its members overlap")
        position = stop
    return ranges


def _frame_digest(contents: mmap.mmap, payloads: Sequence[tuple[int, int]]) -> str:
    """The SHA-256 of the file without its comment and all members but the first, the manifest."""
    digest = hashlib.sha256()
    with memoryview(contents) as data:
        for start, end in _gaps(sorted(payloads)[1:], len(data) - _COMMENT_SIZE):
            digest.update(data[start:end])
    return digest.hexdigest()


def _gaps(ranges: Sequence[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    position = 0
    for start, end in ranges:
        yield position, start
        position = end
    yield position, size
