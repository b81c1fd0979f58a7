"""Carry uploaded files from request to request, whichever server gets them.

::

    from flask_s3handoff import S3Handoff

    handoff = S3Handoff(app)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .current import file_discarded as file_discarded
    from .current import file_mirrored as file_mirrored
    from .current import file_promoted as file_promoted
    from .current import file_rehydrated as file_rehydrated
    from .current import file_revised as file_revised
    from .current import token_refused as token_refused
    from .errors import HandoffError as HandoffError
    from .extension import S3Handoff as S3Handoff
    from .files import HandoffFile as HandoffFile
    from .handoff import Handoff as Handoff
    from .wsgi import HandoffMiddleware as HandoffMiddleware

_HOMES = {
    "Handoff": "handoff",
    "HandoffError": "errors",
    "S3Handoff": "extension",
    "HandoffFile": "files",
    "HandoffMiddleware": "wsgi",
    "file_discarded": "current",
    "file_mirrored": "current",
    "file_promoted": "current",
    "file_rehydrated": "current",
    "file_revised": "current",
    "token_refused": "current",
}
__all__ = list(_HOMES)


if not TYPE_CHECKING:  # a type checker would take every misspelt name for one of ours

    def __getattr__(name: str) -> Any:
        """Import a public name on first use: the WSGI face must not import Flask (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
