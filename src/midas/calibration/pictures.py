"""A calibration's picture files, drawn by a second Python where there is a core to spare for it.

Importing matplotlib and drawing take as long as calibrating does, and hold Python's lock. A helper process imports
while the image is calibrated and draws while the other files are written. Whatever happens to it, the pictures are
drawn: here, if not there.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midas.calibration.result import Calibration

logger = logging.getLogger(__name__)

_DONE = b"done\n"
_PATIENCE = 60.0  # s: a helper that has not drawn by then never will
_SERVE = "import sys; sys.path[:] = {path!r}; from midas.calibration.pictures import serve; serve()"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Artist:
    """Draws pictures of calibrations, in this process."""

    @contextlib.contextmanager
    def drawing(self, calibration: Calibration, files: Mapping[str, Path]) -> Iterator[None]:
        """Have the pictures named ("overview", "details") drawn into their files when the block has ended."""
        yield
        draw(calibration, files)


class _HelpedArtist(Artist):
    """Draws in a helper process while the block runs; in this process when the helper fails."""

    def __init__(self, helper: subprocess.Popen[bytes]) -> None:
        self._helper = helper

    @contextlib.contextmanager
    def drawing(self, calibration: Calibration, files: Mapping[str, Path]) -> Iterator[None]:
        answer: list[bytes] = []
        asking = threading.Thread(target=self._ask, args=(calibration, dict(files), answer), daemon=True)
        asking.start()
        try:
            yield
        except BaseException:
            self.stop()  # so that it does not write to files that are about to be removed
            raise
        asking.join(_PATIENCE)
        if answer != [_DONE]:
            logger.info("the helper that draws has failed; drawing here")
            self.stop()
            draw(calibration, files)

    def _ask(self, calibration: Calibration, files: dict[str, Path], answer: list[bytes]) -> None:
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        # A helper that has ended or was stopped: OSError, ValueError; a calibration of things that cannot travel: the
        # others.
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, pickle.PicklingError):
            pickle.dump((calibration, files), self._helper.stdin, protocol=5)
            self._helper.stdin.flush()
            answer.append(self._helper.stdout.readline())

    def stop(self) -> None:
        """End the helper, whatever it is doing."""
        self._helper.kill()
        self._helper.wait()
        for stream in (self._helper.stdin, self._helper.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # what could not be written is still in the buffer
                stream.close()


@contextlib.contextmanager
def hire_artist(n_threads: int = 0) -> Iterator[Artist]:
    """Yield what draws pictures; a helper process gets ready meanwhile if more than one core may be used.

    `n_threads` is the number of cores that the caller may use; 0 for all.
    """
    helper = _start_helper() if n_threads != 1 and _usable_cores() > 1 else None
    if helper is None:
        yield Artist()
        return
    artist = _HelpedArtist(helper)
    try:
        yield artist
    finally:
        artist.stop()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_helper() -> subprocess.Popen[bytes] | None:
    """Start a helper; None where this program is no Python that can be started again, as when embedded."""
    if not sys.executable:
        return None
    command, pipe = [sys.executable, "-c", _SERVE.format(path=sys.path)], subprocess.PIPE
    try:
        # In a session of its own, Ctrl-C reaches this process alone, which ends the helper.
        return subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            env=os.environ | _ONE_THREAD,
            start_new_session=True,
        )
    except OSError as error:
        logger.info("no helper to draw: %s", error)
        return None


def draw(calibration: Calibration, files: Mapping[str, Path]) -> None:
    """Write pictures to their files as PNG."""
    for which, file in files.items():
        calibration.plot(which).savefig(file, format="png", pil_kwargs={"compress_level": 1})


def serve() -> None:
    """Draw what is asked for on standard input until it ends: the helper's work."""
    _get_ready()
    with contextlib.suppress(EOFError):
        while True:
            draw(*pickle.load(sys.stdin.buffer))
            sys.stdout.buffer.write(_DONE)
            sys.stdout.buffer.flush()


def _get_ready() -> None:
    """Import what drawing needs and draw a little of everything: the first time takes fonts, scales and writers."""
    from matplotlib.figure import Figure

    import midas.calibration.plot_rings
    import midas.calibration.plot_strain
    import midas.calibration.result  # noqa: F401  # what a calibration is made of

    figure = Figure(figsize=(2.0, 2.0))
    axes = figure.add_subplot(title="R", xlabel="y")
    axes.imshow([[0.0]], interpolation="antialiased")
    axes.plot([0.0, 0.1], ".", label="2θ")
    axes.legend()
    figure.colorbar(axes.scatter([0.0], [0.0], c=[1.0]))
    figure.text(0.0, 0.0, "±", family="monospace", weight="bold")
    figure.savefig(io.BytesIO(), format="png")
