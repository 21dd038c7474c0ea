"""What the bytes of a file hold: unpacked, decoded as one grey image, or put into words."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BACKGROUNDS = ("black", "white")  # what may show through transparent pixels
IMAGES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp"),
    *(".gif", ".tif", ".tiff", ".pbm", ".pgm", ".ppm"),
)
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # of 8 bits a channel
_GZIP = b"\x1f\x8b"
_STARTS = {  # of files that people have by mistake: what they are
    b"<": "a web page or XML, as failed downloads are",
    b"{": "JSON text",
    b"version https://git-lfs": "a pointer of Git LFS, `git lfs pull` gets the file itself",
    b"PK\x03\x04": "a zip archive, to be unpacked first",
    b"\xfd7zXZ": "an xz file, to be unpacked first",
    b"BZh": "a bzip2 file, to be unpacked first",
    b"Rar!": "a rar archive, to be unpacked first",
    _GZIP: "a gzip file",
    b"\x93NUMPY": "an array of NumPy",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x00\x00\x08\x01": "an IDX file of labels",
    b"\x00\x00\x08\x03": "an IDX file of images",
}


def described(raw: bytes) -> str:
    """What `raw`, the first bytes of a file or all of them, begins: "a zip archive, ..."."""
    if not raw:
        return "nothing (0 bytes)"
    text = raw[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    known = (words for start, words in _STARTS.items() if text.startswith(start))
    return next(known, f"what begins with the bytes {raw[:4].hex(' ')}")


def unpacked(raw: bytes, path: Path) -> bytes:
    """`raw` without its gzip, by content as downloads are renamed; some are packed twice.

    Raises: ValueError naming `path` for a gzip file that is cut or damaged.
    """
    for _ in range(3):
        if not raw.startswith(_GZIP):
            break
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: must be a whole gzip file, got {error}") from error
    return raw


def read_grey(path: str, background: str | None) -> NDArray[np.uint8]:
    """One image as it is seen, (height, width): colour becomes luminance (ITU-R BT.601).

    Args: background: "black" or "white" shows through transparent pixels; None refuses them.
    Raises: ValueError naming `path` unless it is one image of 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # as the camera was held
            # MPO is the JPEG of many phones, with a preview behind it
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, zlib.error, ...
        raise ValueError(f"{path}: must be an image, {_why_not(path, error)}") from error
    if image.mode not in _MODES or frames > 1:
        facts = f"holds {frames} of Pillow's mode {image.mode}"
        raise ValueError(f"{path}: must be one image of 8-bit grey or colour, {facts}")
    if image.has_transparency_data:
        layers = np.asarray(image.convert("RGBA"))
        image = Image.fromarray(_opaque(layers, path, background))
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _why_not(path: str, error: Exception) -> str:
    """Why `path` is no image, in the user's words: decoders say little."""
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as unreadable:
        return f"cannot be read ({unreadable.strerror})"
    if start.startswith((b"\x89PNG", b"\xff\xd8")):
        reason = " ".join(str(error).replace(path, "").split())
        return f"is damaged ({reason})"
    return f"holds {described(start)}"


def _opaque(layers: NDArray[np.uint8], path: str, background: str | None) -> NDArray[np.uint8]:
    """Colours over a background; nobody can guess it: strokes may be black or white.

    Args: layers: (height, width, 4), the last is how opaque a pixel is. Returns: without it.
    """
    colour, cover = layers[..., :3], layers[..., 3:]
    if background is None and (cover < 255).any():
        rule = "must be opaque unless data.background=black or =white says what shows through"
        raise ValueError(f"{path}: {rule}; {(cover < 255).sum()} of its pixels are transparent")
    share, behind = cover / 255, 255 if background == "white" else 0
    return np.rint(colour * share + behind * (1 - share)).astype(np.uint8)
