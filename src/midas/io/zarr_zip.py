"""A zip archive of zarr format 2 groups and arrays, written member by member in memory that does not grow with it.

Written without the zarr library: format 2 is a few lines of JSON beside Blosc chunks, and this way attributes are in
the archive once, whatever zarr is installed, and the same content gives the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.geometry import FloatArray

_DATE = (1980, 1, 1, 0, 0, 0)  # in the archive: the same content, the same bytes


class ZarrZip:
    """An archive open for writing; leaving its `with` block closes it. Each name is listed once.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    order
        The names at the top in the order in which the archive lists them, whenever they are written; those that stand
        together in a tuple, and what is inside one name, are listed as they were first written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.zip"
    ...     with ZarrZip(path, order=(("first",), ("last",))) as archive:
    ...         archive.array("last", np.ones(2))
    ...         archive.array("first", np.zeros(2))
    ...     zipfile.ZipFile(path).namelist()[::3]
    ['first/.zarray', 'last/.zarray']
    """

    def __init__(self, path: Path, *, order: Sequence[tuple[str, ...]] = ()) -> None:
        from numcodecs import Blosc

        self._zip = zipfile.ZipFile(path, mode="w", compression=zipfile.ZIP_STORED)
        self._codec: Any = Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE)
        # Of images (docs/files.md): level 1 packs frames of counts to within 4 % of what level 5 does.
        self._image_codec: Any = Blosc(cname="zstd", clevel=1, shuffle=Blosc.BITSHUFFLE)
        self._rank = {name: rank for rank, names in enumerate(order, 1) for name in names}
        self._first_written: dict[str, int] = {}

    def __enter__(self) -> ZarrZip:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # What went wrong is known; a disk that is full is so for the list of members, too.
            with contextlib.suppress(OSError, ValueError):
                self._zip.close()
            return
        self._zip.filelist[:] = sorted(self._zip.NameToInfo.values(), key=self._place)
        self._zip.close()

    def group(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Write a group; the root has the name ""."""
        prefix = f"{name}/" if name else ""
        self._json(f"{prefix}.zgroup", {"zarr_format": 2})
        self._json(f"{prefix}.zattrs", attributes or {})

    def array(
        self, name: str, values: npt.NDArray[np.floating[Any]], attributes: Mapping[str, Any] | None = None
    ) -> None:
        """Write an array of numbers as one chunk of float64."""
        values = np.ascontiguousarray(values, dtype="<f8")
        self._describe(name, values.dtype, values.shape, values.shape, self._codec, attributes)
        self._member(_chunk(name, (0,) * values.ndim), _encoded(self._codec, values))

    def array_as_is(self, name: str, values: npt.NDArray[Any]) -> None:
        """Write an array of any dtype, numbers or bytes, as one chunk of that dtype."""
        values = np.ascontiguousarray(values)
        self._describe(name, values.dtype, values.shape, values.shape, self._codec, None)
        self._member(_chunk(name, (0,) * values.ndim), _encoded(self._codec, values))

    def stack(
        self,
        name: str,
        shape: tuple[int, int, int],
        dtype: npt.DTypeLike,
        blocks: Iterable[npt.NDArray[Any]],
        *,
        n_threads: int = 0,
    ) -> None:
        """Write a stack of images as they come, blocks of shape (n, n_z, n_y), each frame a chunk of bitshuffled zstd.

        The bytes are the same for any n_threads (0: all).

        Raises
        ------
        ValueError
            The blocks hold fewer or more frames than `shape` says.
        """
        dtype = np.dtype(dtype)
        self._describe(name, dtype, shape, (1, *shape[1:]), self._image_codec, None)
        written = 0
        for packed in self._packed(blocks, dtype, n_threads):
            self._member(_chunk(name, (written, 0, 0)), packed)
            written += 1
        if written != shape[0]:
            raise ValueError(f"{name} has {written} frames; expected {shape[0]}")

    def _packed(self, blocks: Iterable[npt.NDArray[Any]], dtype: np.dtype[Any], n_threads: int) -> Iterator[bytes]:
        def pack(frame: npt.NDArray[Any]) -> bytes:
            return _encoded(self._image_codec, np.ascontiguousarray(frame, dtype=dtype))

        with ThreadPoolExecutor(n_threads or _core.max_threads(), "midas chunks") as pool:
            for block in blocks:
                yield from pool.map(pack, block)
                del block  # before the next one is read

    def _describe(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        codec: Any,
        attributes: Mapping[str, Any] | None,
    ) -> None:
        text = dtype.kind == "S"
        description = {
            "zarr_format": 2,
            "shape": shape,
            "chunks": chunks,
            "dtype": dtype.str,
            "compressor": codec.get_config(),
            "fill_value": "" if text else 0.0 if dtype.kind == "f" else 0,
            "order": "C",
            "filters": None,
            "dimension_separator": ".",
        }
        self._json(f"{name}/.zarray", description)
        self._json(f"{name}/.zattrs", attributes or {})

    def read(self, name: str, shape: tuple[int, ...]) -> FloatArray:
        """Return the values of an array written before, of that shape."""
        chunk = self._codec.decode(self._zip.read(_chunk(name, (0,) * len(shape))))
        return np.frombuffer(chunk, dtype="<f8").reshape(shape).copy()

    def replace(self, name: str, values: FloatArray) -> None:
        """Write other values for an array, of the same shape; the bytes of the old ones stay in the file, unlisted."""
        chunk = _chunk(name, (0,) * values.ndim)
        del self._zip.NameToInfo[chunk]  # of which the list of members is made at the end
        self._member(chunk, _encoded(self._codec, np.ascontiguousarray(values, dtype="<f8")))

    def _json(self, name: str, content: Mapping[str, Any]) -> None:
        self._member(name, json.dumps(content, indent=1, allow_nan=False).encode())

    def _member(self, name: str, content: bytes) -> None:
        self._first_written.setdefault(name, len(self._first_written))
        self._zip.writestr(zipfile.ZipInfo(name, _DATE), content)

    def _place(self, member: zipfile.ZipInfo) -> tuple[int, int]:
        return self._rank.get(member.filename.split("/")[0], 0), self._first_written[member.filename]


def _chunk(name: str, place: tuple[int, ...]) -> str:
    return f"{name}/{'.'.join(map(str, place))}"


def _encoded(codec: Any, values: npt.NDArray[Any]) -> bytes:
    with _one_thread():
        return bytes(codec.encode(values))


_encoding = 0
_encoding_lock = threading.Lock()
_use_threads: bool | None = None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep Blosc from using threads of its own: it would put the blocks of an array in the order they are done."""
    from numcodecs import blosc

    global _encoding, _use_threads
    with _encoding_lock:
        if _encoding == 0:
            _use_threads, blosc.use_threads = blosc.use_threads, False
        _encoding += 1
    try:
        yield
    finally:
        with _encoding_lock:
            _encoding -= 1
            if _encoding == 0:
                blosc.use_threads = _use_threads
