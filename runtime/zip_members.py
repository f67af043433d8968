"""Members of a mapped zip where they lie in it: nothing is unpacked, or copied, before it is asked for."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, cast

_START = b"PK\x03\x04"


@dataclass(frozen=True)
class Packed:
    """A compressed member of a zip; `size` are the bytes that it says it has."""

    contents: memoryview
    size: int

    def start(self, length: int) -> bytes:
        """The first bytes of the member, or all of them if there are no more; memory is taken for no others."""
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.contents, length)


def zip_members(data: memoryview) -> dict[str, memoryview | Packed]:
    """The contents of the members of a mapped zip, in their order; those that are compressed stay packed.

    Raises ValueError if a member does not lie where the directory says, or there are two of one
    name; `zipfile`'s exceptions for what is no zip.
    """
    with zipfile.ZipFile(cast(IO[bytes], data.obj)) as archive:
        entries, end = archive.infolist(), archive.start_dir
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("it has several members of one name")
    return {entry.filename: _member(data, entry, end) for entry in entries}


def _member(data: memoryview, entry: zipfile.ZipInfo, end: int) -> memoryview | Packed:
    contents = _contents(data, entry, end)
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its member {entry.filename} is encrypted, or compressed in a way that is not read here")
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        return Packed(contents, entry.file_size)
    if entry.file_size != entry.compress_size:
        raise ValueError(f"its member {entry.filename} has another size than it says")
    return contents


def _contents(data: memoryview, entry: zipfile.ZipInfo, end: int) -> memoryview:
    header = entry.header_offset
    if not 0 <= header <= end - 30 or data[header : header + 4] != _START:
        raise ValueError(f"its member {entry.filename} is not where the directory says")
    name_length, extra_length = struct.unpack_from("<HH", data, header + 26)
    start = header + 30 + name_length + extra_length
    if start + entry.compress_size > end:
        raise ValueError(f"its member {entry.filename} is cut off")
    return data[start : start + entry.compress_size]
