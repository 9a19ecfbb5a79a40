"""What image libraries say only in their log."""

from __future__ import annotations

import logging
import re
import threading

from midas.errors import FormatError


class ErrorsOf(logging.Handler):
    """Collect what a library logs in this thread: tifffile and fabio report truncation and bad checksums only there."""

    def __init__(self, name: str, only: str | None = None) -> None:
        """Listen to a logger: to its errors, or to the warnings and errors in which `only` is found."""
        super().__init__(logging.ERROR if only is None else logging.WARNING)
        self._logger = logging.getLogger(name)
        self._only = only or ""
        self._thread = threading.get_ident()
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message of this thread."""
        message = record.getMessage()
        if record.thread == self._thread and re.search(self._only, message):
            self._messages.append(message)

    def __enter__(self) -> ErrorsOf:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def refuse(self) -> None:
        """Raise FormatError when anything was logged."""
        if self._messages:
            raise FormatError(f"{self._messages[0]}; the file is corrupt or truncated, copy it again")
