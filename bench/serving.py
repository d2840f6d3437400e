"""One photo after a run is opened, and a server under load, each beside the bare network.

    python bench/serving.py PHOTOS [--run RUN] [--clients 32] [--seconds 20] [--rounds 3] [--output FILE]
    python bench/serving.py PHOTOS --fuzz ADDRESS --requests 100000 [--schemathesis st] [--output FILE]

Without RUN a `tf_efficientnet_lite0` of random weights is trained for an epoch on some of the photos, at
224 x 224: how good its answers are does not matter here. Rounds alternate between the bare network and the
server, so that other work on the machine meets both; all is on this machine, the clients included.
`--fuzz` runs schemathesis, which is not a dependency of tenfold (pip install schemathesis), against a
server that is running, until it has had so many requests.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import tenfold
from tenfold.engine.device import keep_freed_memory
from tenfold.networks.predict import load_network
from tenfold.nn.network import input_name

ARCH, SIZE = "tf_efficientnet_lite0", 224
BATCHES = (1, 2, 4, 8, 16, 32)
#: The bare network: as PyTorch runs it; with freed memory kept, as in the server; and with the decoding, too.
BARE = ("plain", "kept", "decoded")


def train(photos: list[Path], folder: Path) -> Path:
    """A run of the architecture on a few photos."""
    some = photos[:64]
    table = {"photo": [path.name for path in some], "kind": ["a", "b"] * 32}
    tenfold.fit(
        table,
        image={"photo": str(photos[0].parent)},
        target="kind",
        arch=ARCH,
        weights="none",
        image_size=SIZE,
        epochs=1,
        frozen_epochs=1,
        batch_size=32,
        run=folder / "run",
        quiet=True,
    )
    return folder / "run"


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of CPU."""
    started, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - worked


def one_answer(run: Path, photos: list[Path], times: int) -> str:
    """First answer after `load_run`, the next one, and the bare network, in turn."""
    tenfold.load_run(run).predict(photos[0])  # libraries are loaded by now
    rows: dict[str, list[tuple[float, float]]] = {}
    for photo in photos[1 : times + 1]:
        opened, forward = tenfold.load_run(run), bare_forward(run, 1)
        forward()
        works: dict[str, Callable[[], object]] = {
            "first answer after load_run": lambda photo=photo, opened=opened: opened.predict(photo),
            "the next answer": lambda photo=photo, opened=opened: opened.predict(photo),
            "the bare forward pass": forward,
        }
        for name, work in works.items():
            rows.setdefault(name, []).append(seconds(work))
    lines = ["| | median, ms | least, ms | median CPU, ms | least CPU, ms |", "|---|---:|---:|---:|---:|"]
    for name, taken in rows.items():
        cells = [
            f"{f(column) * 1e3:.0f}" for column in zip(*taken, strict=True) for f in (statistics.median, min)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


_networks: dict[Path, torch.nn.Module] = {}


def bare_forward(run: Path, batch: int) -> Callable[[], object]:
    """The network alone, on pictures that are tensors already."""
    if run not in _networks:
        _networks[run] = load_network(tenfold.load_run(run)).eval()
    network = _networks[run]
    pictures = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last)

    def forward() -> object:
        with torch.no_grad():
            return network.answers({input_name(0): pictures})

    return forward


def plain_decode(body: bytes) -> NDArray[np.float32]:
    """A photo as (3, SIZE, SIZE) pixels in 0..1, as a short script would decode it."""
    with Image.open(io.BytesIO(body)) as image:
        pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return pixels.transpose(2, 0, 1).astype(np.float32) / 255


def bare_rate(run: Path, photos: list[Path], spent: float, how: str) -> list[list[float]]:
    """[photos a second, seconds of CPU for a photo, batch, threads] of the bare network, here.

    how: of `BARE`.
    """
    if how != "plain":
        keep_freed_memory()
    bodies, rates = [path.read_bytes() for path in photos], []
    network = load_network(tenfold.load_run(run)).eval()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for batch in BATCHES:
            pictures = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
            done, started, worked = -batch, time.perf_counter(), time.process_time()
            while done < 0 or time.perf_counter() - started < spent:
                if how == "decoded":
                    some = [plain_decode(bodies[(done + one) % len(bodies)]) for one in range(batch)]
                    pictures = torch.from_numpy(np.stack(some)).to(memory_format=torch.channels_last)
                with torch.no_grad():
                    network.answers({input_name(0): pictures})
                done += batch
                if not done:  # the first batch is not counted
                    started, worked = time.perf_counter(), time.process_time()
            rates.append(
                [
                    done / (time.perf_counter() - started),
                    (time.process_time() - worked) / done,
                    batch,
                    threads,
                ]
            )
    return rates


def bare_rates(run: Path, photos: Path, spent: float) -> dict[str, list[list[float]]]:
    """The same in all ways, each in a process of its own: an allocator is not set back."""
    made = {}
    for how in BARE:
        words = [sys.executable, __file__, str(photos), "--run", str(run), "--bare", how]
        told = subprocess.run(
            [*words, "--seconds", str(spent / 2 / len(BATCHES))], check=True, capture_output=True, text=True
        )
        made[how] = json.loads(told.stdout)
    return made


async def load(port: int, photos: list[Path], clients: int, spent: float) -> tuple[list[float], float]:
    """Seconds of each answer to clients that ask one after the other, and the seconds in all."""
    bodies = [path.read_bytes() for path in photos]
    taken: list[float] = []
    until = time.perf_counter() + spent

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = number
        while time.perf_counter() < until:
            body = bodies[asked % len(bodies)]
            asked += clients
            started = time.perf_counter()
            head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
            writer.write(f"{head}content-type: image/jpeg\r\n\r\n".encode() + body)
            told = await reader.readuntil(b"\r\n\r\n")
            assert told.startswith(b"HTTP/1.1 200"), told
            length = re.search(rb"content-length: (\d+)", told)
            assert length
            await reader.readexactly(int(length[1]))
            taken.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*map(client, range(clients)))
    return taken, time.perf_counter() - started


def cpu_seconds(process: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(run: Path, work: Callable[[int, int], str]) -> str:
    """What `work` tells of a server of the run, by its port and its process."""
    words = [sys.executable, "-m", "tenfold", "serve", str(run), "--port", "0", "--timeout", "600"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split()[3].rpartition(":")[2])
        return work(port, server.pid)
    finally:
        server.terminate()
        server.wait()


def under_load(run: Path, photos: list[Path], clients: int, spent: float, rounds: int) -> str:
    """Rounds of the bare network in three ways and of the server, in turn."""
    names = "".join(f" {how}, best photos/s | CPU ms |" for how in BARE)
    lines = [
        f"| round |{names} server, photos/s | CPU ms | clients, CPU ms | p50, ms | p99, ms |",
        "|---:|" + "---:|" * (2 * len(BARE) + 5),
    ]

    def work(port: int, process: int) -> str:
        ratios: dict[str, list[tuple[float, float]]] = {how: [] for how in BARE}
        asyncio.run(load(port, photos, clients, 3))
        for number in range(1, rounds + 1):
            cells = []
            bare = bare_rates(run, photos[0].parent, spent)
            began, own_began = cpu_seconds(process), time.process_time()
            taken, all_seconds = asyncio.run(load(port, photos, clients, spent))
            own = (cpu_seconds(process) - began) / len(taken)
            client = (time.process_time() - own_began) / len(taken)
            rate, cut = len(taken) / all_seconds, statistics.quantiles(taken, n=100)
            for how, rates in bare.items():
                best, least = max(rates), min(cost for _, cost, _, _ in rates)
                cells += [f"{best[0]:.1f} ({best[2]:.0f} x {best[3]:.0f})", f"{least * 1e3:.1f}"]
                ratios[how].append((rate / best[0], least / own))
            cells += [f"{rate:.1f}", f"{own * 1e3:.1f}", f"{client * 1e3:.2f}"]
            cells += [f"{cut[49] * 1e3:.0f}", f"{cut[98] * 1e3:.0f}"]
            lines.append(f"| {number} | {' | '.join(cells)} |")
        told = [
            f"{how}: {statistics.median(rate for rate, _ in pairs):.2f} of the photos a second, "
            f"{statistics.median(cost for _, cost in pairs):.2f} of the CPU"
            for how, pairs in ratios.items()
        ]
        return "\n".join(
            [*lines, "", f"Median ratios to the bare network, {'; '.join(told)}. The bar is 0.8."]
        )

    return serve(run, work)


def count(address: str) -> dict[str, int]:
    """Status -> requests that a server has had, by its own count."""
    with urllib.request.urlopen(f"{address}/metrics") as answer:
        text = answer.read().decode()
    found: dict[str, int] = {}
    for status, number in re.findall(r'tenfold_requests_total{path="[^"]*",status="(\d+)"} (\S+)', text):
        found[status] = found.get(status, 0) + int(float(number))
    return found


def fuzz(address: str, requests: int, schemathesis: str, first: int) -> str:
    """Requests made up by schemathesis, seed after seed from `first`, until there were so many."""
    checks = ["--checks", "not_a_server_error", "--continue-on-failure", "--warnings", "off"]
    checks += ["--generation-database", "none"]  # which takes almost half of its time
    seed, failed = first, 0
    while sum(count(address).values()) < requests:
        words = [
            schemathesis,
            "run",
            f"{address}/openapi.json",
            *checks,
            "--seed",
            str(seed),
            "--max-examples",
            "300",
        ]
        words += ["--phases", "coverage,fuzzing" if seed == first else "fuzzing", "--request-timeout", "60"]
        done = subprocess.run(words, capture_output=True, text=True)
        failed += done.returncode != 0
        if done.returncode:
            print(done.stdout[-3000:])
        print(f"seed {seed}: {count(address)}", flush=True)
        seed += 1
    statuses = count(address)
    errors = sum(number for status, number in statuses.items() if status.startswith("5"))
    told = ", ".join(f"{status}: {number:,}" for status, number in sorted(statuses.items()))
    return (
        f"{sum(statuses.values()):,} requests of {seed - first} seeds: {errors} with a status of 5xx, "
        f"{failed} failed runs of schemathesis. By status: {told}."
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--bare", choices=BARE, help="measure the bare network alone, as JSON")
    parser.add_argument("--fuzz")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1, help="first of the fuzzing's seeds")
    parser.add_argument("--schemathesis", default="st")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    photos = sorted(asked.photos.glob("*.jpg"))[:256]
    if asked.bare:
        print(json.dumps(bare_rate(asked.run, photos, asked.seconds, asked.bare)))
        return
    if asked.fuzz:
        told = fuzz(asked.fuzz.rstrip("/"), asked.requests, asked.schemathesis, asked.seed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run = asked.run or train(photos, Path(folder))
            machine = f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)"
            answer = one_answer(run, photos, asked.times)
            told = f"{ARCH}, {SIZE} x {SIZE}, {machine}\n\n{answer}"
            if asked.rounds:
                told += "\n\n" + under_load(run, photos, asked.clients, asked.seconds, asked.rounds)
    print(told)
    if asked.output:
        asked.output.write_text(told + "\n")


if __name__ == "__main__":
    main()
