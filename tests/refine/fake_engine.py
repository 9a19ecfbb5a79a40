"""An engine that refines nothing; it speaks the protocol, and dies or hangs where a file beside the output says so."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True)
    parser.add_argument("--broken", action="store_true")
    options = parser.parse_args()
    print(json.dumps({"found": not options.broken, "problem": "it is broken"}), flush=True)
    Path(options.home, "output.txt").write_text("last words\n", encoding="utf-8")
    for line in sys.stdin:
        job = json.loads(line)
        where = Path(job["output_dir"])
        once, always = where / f"die_once_{job['index']}", where / f"die_{job['index']}"
        if once.exists() or always.exists():
            once.unlink(missing_ok=True)
            os._exit(9)
        hang = where / f"hang_once_{job['index']}"
        if hang.exists():
            hang.unlink()
            time.sleep(600)
        if (where / "diary.txt").exists():
            with (where / "diary.txt").open("a", encoding="utf-8") as diary:
                diary.write(f"{job['index']}\n")
            time.sleep(0.02)
        threads = os.environ.get("OMP_NUM_THREADS")
        answer = {
            "index": job["index"],
            "status": "success",
            "r_wp": sum(job["intensity"]),
            "log": f"threads {threads}",
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
