"""A calibration's picture files, drawn by a second Python where there is a core to spare for it.

Importing matplotlib and drawing take as long as calibrating does, and hold Python's lock. A helper process imports
while the image is calibrated and draws while the other files are written. Whatever happens to it, the pictures are
drawn: here, if not there.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import pickle
import signal
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
            _stop(self._helper)
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
        _stop(helper)


def _helper() -> subprocess.Popen[bytes] | None:
    """Start a helper; None where this program is no Python that can be started again, as when embedded."""
    if not sys.executable:
        return None
    command = [sys.executable, "-c", _SERVE.format(path=sys.path)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=one_thread, start_new_session=True
        )
    except OSError:
        return None


def _stop(helper: subprocess.Popen[bytes]) -> None:
    """End a helper and whatever it has started, so that nothing writes to the pictures any more."""
    if helper.returncode is None:  # not waited for yet: its number is still its own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(helper.pid, signal.SIGKILL)
        helper.wait()
    for stream in (helper.stdin, helper.stdout):
        assert stream is not None
        with contextlib.suppress(OSError):  # what could not be written is still in the buffer
            stream.close()


def draw(calibration: Calibration, files: Mapping[str, Path]) -> None:
    """Write pictures to their files as PNG."""
    for which, file in files.items():
        calibration.plot(which).savefig(file, format="png", pil_kwargs={"compress_level": 1})


def serve() -> None:
    """Draw what is asked for on standard input until it ends: the helper's work."""
    _get_ready()
    with contextlib.suppress(EOFError):
        while True:
            _draw_at_once(*pickle.load(sys.stdin.buffer))
            sys.stdout.buffer.write(_DONE)
            sys.stdout.buffer.flush()


def _draw_at_once(calibration: Calibration, files: Mapping[str, Path]) -> None:
    """Draw each picture in a process of its own, where forking is safe: this one has a single thread on Linux."""
    if sys.platform != "linux":
        draw(calibration, files)
        return
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=draw, args=(calibration, {which: files[which]})) for which in files]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise RuntimeError("a picture could not be drawn")


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
