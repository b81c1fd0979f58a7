"""What the example knows of pictures: which it takes, and how one is cropped. Only Pillow here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import IO, NamedTuple

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
ACCEPT = ",".join(FORMATS.values())
MAX_MEGAPIXELS = 40  # 160 MB of memory when decoded
AVATAR_PIXELS = 512  # the longer side of a saved avatar
NOT_OURS = "Choose a JPEG, PNG, WebP or GIF picture; this is none."
DAMAGED = "This picture is damaged: it cannot be read to its end. Choose another one."
TOO_MANY_PIXELS = f"This picture is too big to open: at most {MAX_MEGAPIXELS} million pixels."
_ON_ITS_SIDE = (5, 6, 7, 8)  # the EXIF orientations that swap width and height


class BadPicture(ValueError):
    """This is no picture that we take; the message is for the person who chose it."""


class BadBox(ValueError):
    """This is no part of the picture; ``field`` is the number to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Size(NamedTuple):
    """Width and height in pixels, as a person sees the picture."""

    width: int
    height: int


@dataclass(frozen=True)
class Box:
    """A part of a picture: its upper left corner and its size, in pixels."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def largest_square(cls, size: Size) -> Box:
        """Return the square in the middle, which is what most people want."""
        side = min(size)
        return cls((size.width - side) // 2, (size.height - side) // 2, side, side)

    @classmethod
    def from_form(cls, form: Mapping[str, str], size: Size) -> Box:
        """Read four numbers, or raise ``BadBox`` for the first that does not fit the picture."""
        box = cls(*(_whole_number(form, field.name) for field in fields(cls)))
        box._check(size)
        return box

    def _check(self, size: Size) -> None:
        for name, start, length, most in (
            ("width", self.x, self.width, size.width),
            ("height", self.y, self.height, size.height),
        ):
            if length < 1:
                raise BadBox(name, f"The {name} must be at least 1 pixel.")
            if start + length > most:
                raise BadBox(
                    name, f"The crop ends at pixel {start + length}; the {name} ends at {most}."
                )


def check(stream: IO[bytes]) -> None:
    """Decode the whole picture; raise ``BadPicture`` for one that we do not take."""
    with _open(stream) as picture:
        _decode(picture)
    stream.seek(0)


def size_of(stream: IO[bytes]) -> Size:
    """Return the size of a picture from its header."""
    with _open(stream) as picture:
        on_its_side = picture.getexif().get(ExifTags.Base.Orientation) in _ON_ITS_SIDE
        return Size(*(picture.size[::-1] if on_its_side else picture.size))


def crop(path: str, box: Box) -> None:
    """Put a part of the picture in its place, as a JPEG without the camera's metadata."""
    with _open(path) as picture:
        _decode(picture)
        colours = picture.info.get("icc_profile") if picture.mode == "RGB" else None
        upright = ImageOps.exif_transpose(picture)
    part = upright.crop((box.x, box.y, box.x + box.width, box.y + box.height))
    part.thumbnail((AVATAR_PIXELS, AVATAR_PIXELS))
    _on_white(part).save(path, "JPEG", quality=90, icc_profile=colours)


@contextmanager
def _open(source: str | IO[bytes]) -> Iterator[Image.Image]:
    """Read the header only, and refuse what is no picture of ours or would fill the memory."""
    try:
        picture = Image.open(source, formats=list(FORMATS))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadPicture(TOO_MANY_PIXELS) from error
    except UnidentifiedImageError as error:
        raise BadPicture(NOT_OURS) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadPicture(DAMAGED) from error
    with picture:
        if picture.width * picture.height > MAX_MEGAPIXELS * 1_000_000:
            raise BadPicture(TOO_MANY_PIXELS)
        yield picture


def _decode(picture: Image.Image) -> None:
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:  # so say its decoders
        raise BadPicture(DAMAGED) from error


def _on_white(picture: Image.Image) -> Image.Image:
    """Return the picture in colours that a JPEG can have; what is transparent becomes white."""
    if picture.mode == "RGB":
        return picture
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _whole_number(form: Mapping[str, str], field: str) -> int:
    text = form.get(field, "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise BadBox(field, f"Enter a whole number of pixels for {field}.")
    return int(text)
