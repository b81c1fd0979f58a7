"""Carry uploaded files from request to request, whichever server gets them.

::

    from flask_s3handoff import S3Handoff

    handoff = S3Handoff(app)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import HandoffError as HandoffError
    from .extension import S3Handoff as S3Handoff
    from .files import HandoffFile as HandoffFile
    from .hooks import file_discarded as file_discarded
    from .hooks import file_mirrored as file_mirrored
    from .hooks import file_promoted as file_promoted
    from .hooks import file_rehydrated as file_rehydrated
    from .hooks import file_revised as file_revised
    from .hooks import token_refused as token_refused

_HOMES = {
    "HandoffError": "errors",
    "S3Handoff": "extension",
    "HandoffFile": "files",
    "file_discarded": "hooks",
    "file_mirrored": "hooks",
    "file_promoted": "hooks",
    "file_rehydrated": "hooks",
    "file_revised": "hooks",
    "token_refused": "hooks",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the WSGI face must not import Flask (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
