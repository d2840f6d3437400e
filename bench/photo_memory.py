"""Does peak memory grow with the number of photos? As many steps over 200 as over 2,000 drawn photos.

python bench/photo_memory.py

Each runs in a process of its own, with an empty cache; the peak is the process's largest resident memory.
The number of steps is the same (ten epochs and one), since the C library's heap takes some epochs to settle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

COUNTS = (200, 2000)


def run(count: int) -> int:
    from tenfold.studies.demo import write_demo_data

    with tempfile.TemporaryDirectory() as folder:
        data = write_demo_data(Path(folder), rows=count, test_rows=10)
        words = [
            sys.executable, "-m", "tenfold", "fit", str(data.train), "--image", f"image_id={data.photos}",
            "--target", "disease", "--arch", "test_convnext", "--weights", "none", "--image-size", "160",
            "--epochs", str(max(COUNTS) // count), "--frozen-epochs", "0", "-o", f"{folder}/run", "--json",
        ]  # fmt: skip
        environment = {**os.environ, "TENFOLD_CACHE": f"{folder}/cache"}
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
        return json.loads(done.stdout)["peak_bytes"]


def main() -> None:
    peaks = {count: run(count) for count in COUNTS}
    for count, peak in peaks.items():
        print(f"{count:>6} photos  {peak / 2**20:8.1f} MiB  {peak / peaks[COUNTS[0]]:.3f}")


if __name__ == "__main__":
    main()
