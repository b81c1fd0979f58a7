"""What an app asks about this request's files, whatever its framework."""

from __future__ import annotations

from abc import ABC, abstractmethod

from markupsafe import Markup

from .errors import Forged
from .exchange import Exchange
from .files import HandoffFile
from .visit import Refusal


class Handle(ABC):
    """The files of the current request. A face says which exchange that is."""

    @abstractmethod
    def _arrived(self) -> Exchange | None:
        """Return the request's story after its body was read, or None if it brought nothing."""

    @abstractmethod
    def _begun(self) -> Exchange:
        """Return the request's story, begun if need be."""

    @property
    def files(self) -> list[HandoffFile]:
        """The files that this request brought, fresh or carried, as in ``request.files``.

        One whose token was refused raises when its bytes are used.
        """
        exchange = self._arrived()
        return exchange.files if exchange else []

    def get(self, field: str) -> HandoffFile | None:
        """Return the first file of this field, or ``None``."""
        return next(iter(self.getlist(field)), None)

    def getlist(self, field: str) -> list[HandoffFile]:
        """Return the files of this field."""
        return [file for file in self.files if file.field == field]

    @property
    def errors(self) -> list[Refusal]:
        """The tokens of this request that could not be used: field, filename, code."""
        exchange = self._arrived()
        return exchange.errors if exchange else []

    def fields(self) -> Markup:
        """Return the hidden input that carries this request's files, or nothing.

        In a template: ``<form method="post">{{ s3handoff.fields() }} … </form>``.
        """
        from .forms import hidden_input  # see leaving._carry_in_page

        token = self.token()
        # the alphabet of a token has nothing to escape
        return Markup(hidden_input(token).decode()) if token else Markup()  # noqa: S704

    def token(self) -> str:
        """Return a token of this request's files for a JSON or fragment client, or ``""``."""
        exchange = self._arrived()
        files = exchange.carried_files() if exchange else []
        return exchange.token(files) if exchange and (files or exchange.carriage.kept) else ""

    def restore(self, token: str) -> list[HandoffFile]:
        """Return the files of a token that a client gave back; ``Forged`` if it is not ours."""
        exchange = self._begun()
        if not exchange.rooms.config.is_active:
            return []
        refused = len(exchange.errors)
        files = exchange.admit_tokens([token])
        forged = any(refusal.code == Forged.reason for refusal in exchange.errors[refused:])
        if forged and exchange.rooms.config.on_error == "raise":
            raise Forged()
        return files

    def forget(self) -> None:
        """Take the binding cookies from this browser: what it carries becomes ``foreign``."""
        self._begun().forgets = True
