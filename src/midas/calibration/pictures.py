"""A calibration's picture files, drawn by a second Python where there is a core to spare for it.

Importing matplotlib and drawing take as long as calibrating does, and hold Python's lock. A helper process imports
while the image is calibrated and draws while the other files are written. Whatever happens to it, the pictures are
drawn: here, if not there.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midas.calibration.result import Calibration

_DONE = b"done\n"
_SERVE = "import sys; sys.path[:] = {path!r}; from midas.calibration.pictures import serve; serve()"


class Pictures:
    """Writes pictures of calibrations, in this process."""

    @contextlib.contextmanager
    def drawing(self, calibration: Calibration, files: Mapping[str, Path]) -> Iterator[None]:
        """Have the pictures named ("overview", "details") written to their files when the block has ended."""
        yield
        draw(calibration, files)


class _Helped(Pictures):
    """Writes pictures in a helper process, which draws while the block runs; here when the helper has failed."""

    def __init__(self, helper: subprocess.Popen[bytes]) -> None:
        self._helper = helper

    @contextlib.contextmanager
    def drawing(self, calibration: Calibration, files: Mapping[str, Path]) -> Iterator[None]:
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        with contextlib.suppress(OSError):
            pickle.dump((calibration, dict(files)), self._helper.stdin, protocol=5)
            self._helper.stdin.flush()
        yield
        if self._helper.stdout.readline() != _DONE:
            draw(calibration, files)


@contextlib.contextmanager
def pictures(n_threads: int = 0) -> Iterator[Pictures]:
    """Yield what writes pictures; a helper process gets ready meanwhile if more than one core may be used.

    `n_threads` is the number of cores that the caller may use; 0 for all.
    """
    helper = _helper() if n_threads != 1 and (os.cpu_count() or 1) > 1 else None
    if helper is None:
        yield Pictures()
        return
    try:
        yield _Helped(helper)
    finally:
        helper.kill()
        with contextlib.suppress(OSError):  # what could not be written is still in the buffer
            helper.communicate()


def _helper() -> subprocess.Popen[bytes] | None:
    """Start a helper; None where this program is no Python that can be started again, as when embedded."""
    if not sys.executable:
        return None
    command = [sys.executable, "-c", _SERVE.format(path=sys.path)]
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None


def draw(calibration: Calibration, files: Mapping[str, Path]) -> None:
    """Write pictures to their files as PNG."""
    for which, file in files.items():
        calibration.plot(which).savefig(file, format="png", pil_kwargs={"compress_level": 1})


def serve() -> None:
    """Draw what is asked for on standard input until it ends: the helper's work."""
    import midas.calibration.plot_rings
    import midas.calibration.plot_strain
    import midas.calibration.result  # noqa: F401  # what a calibration is made of

    with contextlib.suppress(EOFError):
        while True:
            draw(*pickle.load(sys.stdin.buffer))
            sys.stdout.buffer.write(_DONE)
            sys.stdout.buffer.flush()
