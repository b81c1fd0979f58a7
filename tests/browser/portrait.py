"""A picture to upload, drawn here: nobody's photograph, and the same in every run."""

from __future__ import annotations

import io

from PIL import ExifTags, Image, ImageDraw, ImageFilter

SKY, DUSK, HILL, MEADOW = "#5b8def", "#ffd9a0", "#3d6b57", "#5f9a6b"
SKIN, HAIR, SHIRT, INK = "#f2c79f", "#5a3420", "#c8443c", "#2b2320"


def portrait(width: int = 1200, height: int = 800, *, kind: str = "JPEG") -> bytes:
    """Draw a person before hills, and return the file."""
    canvas = Image.new("RGB", (1200, 800))
    canvas.paste(_sky())
    draw = ImageDraw.Draw(canvas)
    draw.ellipse((-300, 520, 700, 1300), fill=HILL)
    draw.ellipse((450, 560, 1600, 1400), fill=MEADOW)
    draw.ellipse((940, 110, 1060, 230), fill="#fff3cf")
    _person(draw)
    smooth = canvas.filter(ImageFilter.SMOOTH_MORE).resize(
        (width, height), Image.Resampling.LANCZOS
    )
    body = io.BytesIO()
    smooth.save(body, kind, quality=88)
    return body.getvalue()


def sideways(photo: bytes) -> bytes:
    """Add what a camera writes that was held on its side: turn me clockwise."""
    with Image.open(io.BytesIO(photo)) as picture:
        exif, body = picture.getexif(), io.BytesIO()
        exif[ExifTags.Base.Orientation] = 6
        picture.save(body, "JPEG", exif=exif)
    return body.getvalue()


def _sky() -> Image.Image:
    ramp = Image.linear_gradient("L").resize((1200, 800))
    return Image.composite(
        Image.new("RGB", ramp.size, DUSK), Image.new("RGB", ramp.size, SKY), ramp
    )


def _person(draw: ImageDraw.ImageDraw) -> None:
    draw.rounded_rectangle((330, 590, 770, 1000), 160, fill=SHIRT)
    draw.rounded_rectangle((495, 520, 605, 660), 50, fill="#e0b189")
    draw.ellipse((375, 160, 725, 560), fill=HAIR)
    draw.ellipse((400, 210, 700, 590), fill=SKIN)
    draw.chord((385, 165, 715, 420), 180, 360, fill=HAIR)
    for eye in (478, 592):
        draw.ellipse((eye, 372, eye + 30, 410), fill=INK)
        draw.ellipse((eye + 16, 378, eye + 24, 387), fill="white")
    for cheek in (450, 602):
        draw.ellipse((cheek, 430, cheek + 50, 468), fill="#efae8d")
    draw.arc((490, 420, 610, 510), 25, 155, fill=INK, width=9)
