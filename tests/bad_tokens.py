"""Texts that are no tokens, by their rows in the list of bad inputs (B24–B27)."""

from __future__ import annotations

import base64
import zlib

GARBAGE = {
    "B24-empty": "", "B24-one-character": "A", "B24-dot": ".", "B24-two-dots": "..", "B24-three-parts": "a.b.c", "B24-long": "A" * 300_000,
    "B24-spaces": "  ", "B24-quotes": "\"'><script>", "B24-percent": "%2e%2e/", "B25-nul": "a\0.b", "B25-accent": "é.a.b", "B25-none": "None",
    "B25-newline": "a\n.b",
    "B27-zlib": "." + base64.urlsafe_b64encode(zlib.compress(b"0" * 9_000_000)).decode() + ".sig",
}  # fmt: skip
