"""Damaged image files put to every reader: each must be read, or refused by an error that names the file.

    python tests/reader_fuzz.py --cases 20000 --seed 1 --processes 2

Files of every format are damaged in the ways that disks, transfers and writers that died damage them, and in their
headers on purpose. Each is read in another process, which may take 5 s and fill 2 GB. A case is told by seed and
number: --only NUMBER writes the damaged file and reads it here.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import queue
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 5.0
BYTES = 2 << 30
"""That a process may fill."""
ASKED_BYTES = 3 << 30
"""That it may ask for: Blosc makes room for what the header of a chunk says, up to 2 GiB, before it looks further."""
_MOST_FRAMES = 8  # of a file that are read
_READY = 60.0  # s for a process to start


@dataclass(frozen=True)
class Outcome:
    """What became of a damaged file."""

    case: int
    format: str
    damage: str
    kind: str
    """`read`, `refused`; or what must not be: `wrong error`, `unnamed`, `memory`, `hang`, `crash`."""
    detail: str = ""
    seconds: float = 0.0

    @property
    def bad(self) -> bool:
        return self.kind not in ("read", "refused")


Bytes = bytearray
Damage = Callable[[Bytes, np.random.Generator], Bytes]


def _place(data: Bytes, rng: np.random.Generator) -> int:
    """Somewhere in a file, more often near its start, where headers are, than elsewhere."""
    reach = len(data) if rng.random() < 0.4 else min(len(data), int(rng.choice([64, 512, 4096])))
    return int(rng.integers(max(1, reach)))


def truncate(data: Bytes, rng: np.random.Generator) -> Bytes:
    return data[: int(rng.integers(len(data) + 1))]


def flip_bits(data: Bytes, rng: np.random.Generator) -> Bytes:
    for _ in range(int(rng.choice([1, 1, 2, 4, 16]))):
        if data:
            data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def scramble(data: Bytes, rng: np.random.Generator) -> Bytes:
    at, n = _place(data, rng), int(rng.choice([1, 2, 4, 8, 64, 512]))
    data[at : at + n] = rng.bytes(min(n, max(0, len(data) - at)))
    return data


def blank(data: Bytes, rng: np.random.Generator) -> Bytes:
    at, n = _place(data, rng), int(rng.choice([1, 4, 16, 512, 4096]))
    data[at : at + n] = bytes([int(rng.choice([0, 255, 32]))]) * min(n, max(0, len(data) - at))
    return data


def extreme_number(data: Bytes, rng: np.random.Generator) -> Bytes:
    """A field of 2, 4 or 8 bytes that says far too much, or nothing."""
    size = int(rng.choice([2, 4, 8]))
    at = _place(data, rng) // size * size
    bits = 8 * size
    value = int(rng.choice([0, 1, 2, 3, bits - 2, bits - 1]))
    number = {0: 0, 1: 1, 2: (1 << bits) - 1, 3: (1 << bits) - 2}.get(value, 1 << value)
    data[at : at + size] = number.to_bytes(size, str(rng.choice(["little", "big"])))[: max(0, len(data) - at)]
    return data


def swap_bytes(data: Bytes, rng: np.random.Generator) -> Bytes:
    """The other byte order."""
    size, at = int(rng.choice([2, 4, 8])), _place(data, rng)
    end = at + size * int(rng.choice([1, 4, 1000]))
    part = data[at:end]
    part = part[: len(part) // size * size]
    data[at : at + len(part)] = np.frombuffer(bytes(part), f"u{size}").byteswap().tobytes() if part else b""
    return data


def cut_out(data: Bytes, rng: np.random.Generator) -> Bytes:
    at = _place(data, rng)
    del data[at : at + int(rng.choice([1, 2, 16, 512]))]
    return data


def put_in(data: Bytes, rng: np.random.Generator) -> Bytes:
    at = _place(data, rng)
    data[at:at] = rng.bytes(int(rng.choice([1, 2, 16, 512])))
    return data


def append(data: Bytes, rng: np.random.Generator) -> Bytes:
    return data + rng.bytes(int(rng.choice([1, 100, 5000])))


def move_block(data: Bytes, rng: np.random.Generator) -> Bytes:
    a, b, n = _place(data, rng), _place(data, rng), int(rng.choice([4, 64, 512]))
    part = data[a : a + n]
    data[b : b + len(part)] = part
    return data


def change_digits(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Numbers in a header of text."""
    digits = [i for i, c in enumerate(data[:8192]) if chr(c).isdigit() and c < 128]
    for i in rng.permutation(digits)[: int(rng.choice([1, 2, 5]))] if digits else ():
        data[int(i)] = int(rng.choice(list(b"0123456789-.e ")))
    return data


DAMAGES: tuple[Damage, ...] = (
    truncate, flip_bits, scramble, blank, extreme_number, swap_bytes, cut_out, put_in, append, move_block,
    change_digits,
)  # fmt: skip


def damage_zip(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Damage a member of an archive and write it whole again, so that its checksums are right."""
    source = zipfile.ZipFile(io.BytesIO(content))
    names = source.namelist()
    chosen = str(rng.choice(names))
    out = io.BytesIO()
    damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
    with zipfile.ZipFile(out, "w") as target:
        for name in names:
            member = Bytes(source.read(name))
            target.writestr(name, bytes(damage(member, rng) if name == chosen else member))
    return out.getvalue(), f"{damage.__name__} in {chosen}"


class Originals:
    """A whole file of every format, with dark and mask where it can have them, kept in memory."""

    def __init__(self) -> None:
        from image_files import COLUMNS, FORMATS, ROWS, add_to_tree

        rng = np.random.default_rng(0)
        self.formats = FORMATS
        self.files: list[dict[str, bytes]] = []
        scan, analysis = "measurement/process/scan_parameters", "analysis/process/analysis_parameters"
        more = {
            "exchange/dark": np.ones((2, ROWS, COLUMNS), np.uint16),
            "exchange/mask": np.zeros((1, ROWS, COLUMNS), np.uint8),
            f"{scan}/Temperature": np.arange(5.0) + 300.0,
            f"{scan}/step": np.array([0.5]),
            f"{analysis}/ImTransOpt": np.array([1, 3]),
            f"{analysis}/Lsd": np.array([1e6]),
        }
        for form in FORMATS:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / form.file
                form.write(path, rng.integers(0, 4000, (5 if form.several else 1, ROWS, COLUMNS)).astype(form.dtype))
                if form.tree:
                    add_to_tree(path, more)
                files = [file for file in sorted(Path(folder).rglob("*")) if file.is_file()]
                self.files.append({file.relative_to(folder).as_posix(): file.read_bytes() for file in files})

    def damaged(self, case: int, seed: int, folder: Path) -> tuple[Path, str, str, dict[str, Any]]:
        """Write the file of a case; return its name, its format, what was done to it, and options to read it."""
        rng = np.random.default_rng((seed, case))
        k = case % len(self.formats)
        form, files = self.formats[k], dict(self.files[k])
        chosen = str(rng.choice(list(files)))
        if chosen.endswith(".zip") and rng.random() < 0.6:
            files[chosen], what = damage_zip(files[chosen], rng)
        else:
            data, names = Bytes(files[chosen]), []
            for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
                damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
                data = damage(data, rng)
                names.append(damage.__name__)
            files[chosen], what = bytes(data), f"{', '.join(names)} in {chosen}"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / form.file, form.id, what, dict(form.options)


def read_all(path: Path, options: dict[str, Any]) -> None:
    """Read what a file has: frames, mask, dark, and what it says of itself."""
    from midas.io.frames import read_frames

    with read_frames(path, **options) as frames:
        for i in range(min(len(frames), _MOST_FRAMES)):
            _ = frames[i]
        _ = frames[: min(len(frames), 2)]
        _ = frames.mask
        _ = [hint.describe() for hint in frames.metadata.get("hints", ())]
        for group in ("measurement/process/scan_parameters", "analysis/process/analysis_parameters"):
            frames.read_values(group)
        has_dark = frames.has_dark
    if has_dark:
        with read_frames(path, data_location="exchange/dark") as dark:
            _ = dark[0]


def judge(path: Path, options: dict[str, Any]) -> tuple[str, str]:
    """Return what reading a file comes to, and the message or the traceback."""
    from midas.errors import FormatError, InputError

    try:
        read_all(path, options)
    except (FormatError, InputError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                return "memory", str(error)
            cause = cause.__cause__ or cause.__context__
        return ("refused" if str(path) in str(error) else "unnamed"), str(error)
    except MemoryError as error:
        return "memory", str(error)
    except Exception:  # noqa: BLE001  it is what is looked for
        return "wrong error", traceback.format_exc()
    return "read", ""


def serve() -> None:
    """Read the files named on standard input, one a line, and answer each with a line."""
    import logging
    import warnings

    import fabio  # noqa: F401
    import hdf5plugin  # noqa: F401
    import tifffile  # noqa: F401
    import zarr  # noqa: F401

    import midas.io.convert  # noqa: F401

    warnings.simplefilter("ignore")
    logging.disable(logging.NOTSET)
    logging.getLogger().addHandler(logging.NullHandler())
    # Private writable memory: what is mapped from files does not count, nor what libraries reserve.
    resource.setrlimit(resource.RLIMIT_DATA, (ASKED_BYTES, ASKED_BYTES))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        name, options = json.loads(line)
        answer = judge(Path(name), options)
        filled = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if filled > BYTES:
            answer = ("memory", f"{filled / BYTES * 2:.1f} GiB filled")
        print(json.dumps(answer), file=answers, flush=True)
        if filled > BYTES:
            return  # the peak would count for the next file, too


class Reader:
    """A process that reads one file after another; a new one in its place when it ends or takes too long."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "2"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        self._answers: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout, self._answers), daemon=True)
        self._listener.start()
        if self._answers.get(timeout=_READY) == "":
            raise RuntimeError("the reading process did not start")

    @staticmethod
    def _listen(stream: Any, answers: queue.Queue[str]) -> None:
        for line in stream:
            answers.put(line)
        answers.put("")  # it ended

    def read(self, path: Path, options: dict[str, Any]) -> tuple[str, str]:
        try:
            print(json.dumps([str(path), options]), file=self._process.stdin, flush=True)
            answer = self._answers.get(timeout=SECONDS)
        except queue.Empty:
            self.close()
            self._start()
            return "hang", f"more than {SECONDS:g} s"
        except BrokenPipeError:
            answer = ""
        if not answer:
            status = self._process.wait()
            self.close()
            self._start()
            return "crash", f"exit status {status}"
        kind, detail = json.loads(answer)
        if kind == "memory" and self._process.poll() is not None:
            self.close()
            self._start()
        return kind, detail

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def fuzz(cases: range, seed: int, *, processes: int = 1) -> Iterator[Outcome]:
    """Yield what became of each case."""
    originals = Originals()
    waiting: queue.Queue[int] = queue.Queue()
    done: queue.Queue[Outcome | BaseException] = queue.Queue()
    for case in cases:
        waiting.put(case)

    def work() -> None:
        reader = Reader()
        try:
            while True:
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    return
                folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
                path, form, what, options = originals.damaged(case, seed, folder)
                start = time.perf_counter()
                kind, detail = reader.read(path, options)
                done.put(Outcome(case, form, what, kind, detail, time.perf_counter() - start))
                shutil.rmtree(folder)
        except BaseException as error:
            done.put(error)
            raise
        finally:
            reader.close()

    threads = [threading.Thread(target=work) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for _ in cases:
        found = done.get()
        if isinstance(found, BaseException):
            raise found
        yield found
    for thread in threads:
        thread.join()


def run_one(case: int, seed: int, folder: Path) -> None:
    """Write a case's file, read it here, and print what comes of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path, form, what, options = Originals().damaged(case, seed, folder)
    print(f"case {case}: {form}: {what}\n{path}")
    read_all(path, options)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int)
    parser.add_argument("--folder", type=Path, default=Path("fuzzed"), help="where --only writes the file")
    parser.add_argument("--out", type=Path, help="a JSON file of the counts and of all that must not be")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve()
        return 0
    if args.only is not None:
        run_one(args.only, args.seed, args.folder)
        return 0
    start = time.perf_counter()
    counts: dict[str, Counter[str]] = {}
    bad: list[Outcome] = []
    slowest = 0.0
    for n, outcome in enumerate(fuzz(range(args.first, args.first + args.cases), args.seed, processes=args.processes)):
        counts.setdefault(outcome.format, Counter())[outcome.kind] += 1
        slowest = max(slowest, outcome.seconds)
        if outcome.bad:
            bad.append(outcome)
            print(
                f"{outcome.case} {outcome.format}: {outcome.kind}: {outcome.damage}: {outcome.detail[-300:]}",
                flush=True,
            )
        if n % 1000 == 999:
            print(f"{n + 1} cases, {time.perf_counter() - start:.0f} s, {len(bad)} bad", flush=True)
    total = sum(counts.values(), Counter())
    print(f"{sum(total.values())} cases: {dict(total)}; slowest {slowest:.2f} s")
    if args.out is not None:
        report = {
            "cases": args.cases, "seed": args.seed, "counts": dict(total), "slowest_seconds": slowest,
            "by_format": {name: dict(count) for name, count in counts.items()}, "bad": [asdict(o) for o in bad],
        }  # fmt: skip
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
