"""Pictures as arrays of bytes: rows × columns × channels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy

from ..arrays import Array
from ..errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
"""How the names of pictures end, in small letters."""

_MODES = {None: "L", 1: "L", 3: "RGB", 4: "RGBA"}


def read_picture(
    file: str | os.PathLike[str], size: tuple[int | None, int | None], channels: int | None, *, resize: bool = False
) -> Array:
    """A picture as bytes, turned as its EXIF data say: [rows, columns, channels].

    `size` is the rows and columns that it must have (None: any); if `resize`, it is scaled to
    them.  `channels` is 1 (grey), 3 or 4, or None for grey without an axis of channels.
    Raises `DataError` if the file is no picture, cannot be read, or has another size.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if channels not in _MODES:
        raise DataError(f"{channels} channels are wanted, and a picture has 1, 3 or 4")
    try:
        with Image.open(file) as opened:
            picture: Picture = ImageOps.exif_transpose(opened).convert(_MODES[channels])
    except UnidentifiedImageError as error:
        raise DataError(f"{os.fspath(file)} is no picture that can be read") from error
    except FileNotFoundError as error:
        raise DataError(f"there is no file {os.fspath(file)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"{os.fspath(file)} cannot be read as a picture: {reason}") from error
    pixels = numpy.asarray(_fitted(picture, size, os.fspath(file), resize))
    return pixels[:, :, None] if channels == 1 else pixels


def resize_arrays(pictures: Array, rows: int, columns: int) -> Array:
    """Pictures of bytes or floats, [samples, rows, columns(, channels)], scaled as `read_picture` scales files."""
    from PIL import Image

    def scaled(plane: Array) -> Array:
        # one plane at a time: Pillow knows no pictures of several channels of floats
        return numpy.asarray(Image.fromarray(plane).resize((columns, rows), Image.Resampling.BILINEAR))

    planes = pictures if pictures.ndim == 3 else numpy.moveaxis(pictures, 3, 1)
    plain = numpy.ascontiguousarray(planes, numpy.uint8 if pictures.dtype == numpy.uint8 else numpy.float32)
    flat = plain.reshape(-1, *plain.shape[-2:])
    result = numpy.stack([scaled(plane) for plane in flat]) if len(flat) else numpy.empty((0, rows, columns))
    result = result.reshape(*plain.shape[:-2], rows, columns).astype(plain.dtype, copy=False)
    return result if pictures.ndim == 3 else numpy.ascontiguousarray(numpy.moveaxis(result, 1, 3))


def _fitted(picture: Picture, size: tuple[int | None, int | None], file: str, resize: bool) -> Picture:
    """The picture in the size that is wanted."""
    from PIL import Image

    columns, rows = picture.size
    wanted = (size[0] or rows, size[1] or columns)
    if (rows, columns) == wanted:
        return picture
    if not resize:
        raise DataError(
            f"{file} has {rows}×{columns} pixels (rows × columns), and the input {wanted[0]}×{wanted[1]}; "
            "pictures are scaled on request (--resize)"
        )
    return picture.resize((wanted[1], wanted[0]), Image.Resampling.BILINEAR)
