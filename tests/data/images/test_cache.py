"""The cache of resized pictures: filling is the check, content is the key, and nothing half is believed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tenfold.data.images import cache as imagecache
from tenfold.data.images import store as imagestore
from tenfold.data.images.cache import ImageCache, build_image_cache
from tenfold.data.images.decode import decode_image
from tenfold.errors import ImageError

SIZE = (16, 12)


def make_pictures(folder: Path, count: int, start: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(start, start + count):
        rng = np.random.default_rng(number)
        paths.append(folder / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def build(
    paths: list[Path | None] | list[Path], tmp_path: Path, **options: object
) -> tuple[ImageCache, dict[int, str], list[str]]:
    options.setdefault("cache_dir", tmp_path / "cache")
    return build_image_cache(paths, size=SIZE, **options)  # type: ignore[arg-type]


def check_rows(cache: ImageCache, paths: list[Path]) -> None:
    rows = cache.read(np.arange(len(paths)))
    for row, path in enumerate(paths):
        assert (rows[row] == decode_image(path, SIZE)).all(), path.name


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_rows_are_what_decoding_gives_in_any_order(tmp_path: Path, workers: int) -> None:
    paths = make_pictures(tmp_path / "p", 20)
    told: list[tuple[int, int]] = []
    cache, problems, notes = build(
        paths, tmp_path, workers=workers, on_progress=lambda done, total: told.append((done, total))
    )
    assert problems == {} and notes == [] and len(cache) == 20 and cache.decoded == 20
    assert told == [(done, 20) for done in range(1, 21)]
    check_rows(cache, paths)
    order = [7, 7, 0, 19]
    rows = cache.read(order)
    assert rows.dtype == np.uint8 and rows.shape == (4, *SIZE, 3)
    assert (rows == np.stack([decode_image(paths[row], SIZE) for row in order])).all()
    assert cache.read([]).shape == (0, *SIZE, 3)


def test_the_second_time_nothing_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = make_pictures(tmp_path / "p", 6)
    first, _, _ = build(paths, tmp_path)
    monkeypatch.setattr(imagecache, "decode_file", lambda *_, **__: pytest.fail("decoded again"))
    again, problems, _ = build(paths, tmp_path)
    assert problems == {} and again.decoded == 0
    assert (again.read(range(6)) == first.read(range(6))).all()
    assert (again.content == first.content).all()


def test_data_sets_share_pictures_of_the_same_content(tmp_path: Path) -> None:
    paths = make_pictures(tmp_path / "p", 4)
    build(paths, tmp_path)
    other = tmp_path / "q"
    other.mkdir()
    for path in paths:
        (other / f"copy-{path.name}").write_bytes(path.read_bytes())
    copies = sorted(other.iterdir())
    cache, _, _ = build([*copies, *make_pictures(tmp_path / "r", 1, start=9)], tmp_path)
    assert cache.decoded == 1
    check_rows(cache, [*copies, tmp_path / "r" / "9.png"])


def test_repeats_are_decoded_once_and_can_be_told(tmp_path: Path) -> None:
    a, b = make_pictures(tmp_path / "p", 2)
    twin = tmp_path / "p" / "twin.jpg"
    twin.write_bytes(a.read_bytes())
    paths = [a, b, twin, a, None, b]
    for _ in range(2):
        cache, problems, _ = build(paths, tmp_path, workers=3)
        assert problems == {}
        same = cache.content
        assert same[0] == same[2] == same[3] and same[1] == same[5] != same[0] and same[4] == ""
        assert all(len(one) == 32 for one in same if one)
        rows = cache.read(range(6))
        assert (rows[2] == rows[0]).all() and (rows[5] == rows[1]).all() and (rows[4] == 0).all()
    assert (tmp_path / "cache" / "images").exists()
    assert sum(path.stat().st_size for path in tmp_path.glob("cache/images/*.pixels")) == 2 * 16 * 12 * 3


@pytest.mark.parametrize("settled", [False, True])
def test_a_picture_replaced_under_the_same_name_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: bool
) -> None:
    if settled:  # the files were left alone long enough for their content to be remembered
        now = imagestore.time.time_ns
        monkeypatch.setattr(imagestore.time, "time_ns", lambda: now() + 10 * imagestore.SETTLED)
    path = tmp_path / "a.bmp"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path)
    before = path.stat()
    assert (build([path], tmp_path)[0].read([0]) == (255, 0, 0)).all()
    assert (build([path], tmp_path)[0].read([0]) == (255, 0, 0)).all()
    Image.new("RGB", (8, 8), (0, 0, 255)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    cache, _, _ = build([path], tmp_path)
    assert (cache.read([0]) == (0, 0, 255)).all() and cache.decoded == 1


def test_ways_of_resizing_are_kept_apart(tmp_path: Path) -> None:
    path = make_pictures(tmp_path / "p", 1)[0]
    seen = []
    for size in ((16, 12), (12, 16)):
        for resize in ("squish", "crop", "pad"):
            for interpolation in ("bicubic", "nearest"):
                for _ in range(2):
                    cache, _, _ = build_image_cache(
                        [path],
                        size=size,
                        resize=resize,
                        interpolation=interpolation,
                        cache_dir=tmp_path / "cache",
                    )
                    right = decode_image(path, size, resize, interpolation=interpolation)
                    assert (cache.read([0])[0] == right).all()
                seen.append(zlib.crc32(right))
    assert len(set(seen)) == 12


def test_bad_pictures_are_named_and_stay_in_their_row(tmp_path: Path) -> None:
    paths: list[Path | None] = [*make_pictures(tmp_path / "p", 10)]
    photo = tmp_path / "p" / "cut.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photo)
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (tmp_path / "p" / "empty.jpg").touch()
    (tmp_path / "p" / "cut again.jpg").write_bytes(photo.read_bytes())
    good = [*paths]
    paths[4], paths[7] = photo, tmp_path / "p" / "gone.png"
    paths[2], paths[9] = tmp_path / "p" / "empty.jpg", tmp_path / "p" / "cut again.jpg"
    for _ in range(2):  # what is bad is bad again the next time
        cache, problems, _ = build(paths, tmp_path, names=[f"sub/{row}" for row in range(10)])
        assert list(problems) == [2, 4, 7, 9]
        assert problems == {
            2: "sub/2 is empty (0 bytes)",
            4: "sub/4 is cut off: the file ends before the picture does",
            7: "sub/7 is missing",
            9: "sub/9 is cut off: the file ends before the picture does",
        }
        rows = cache.read(range(10))
        for row, path in enumerate(good):
            right = np.zeros(()) if row in problems else decode_image(path, SIZE)  # type: ignore[arg-type]
            assert (rows[row] == right).all()


def test_the_limit_holds_for_what_a_higher_one_let_in(tmp_path: Path) -> None:
    paths = make_pictures(tmp_path / "p", 2)
    Image.new("1", (100, 50)).save(paths[1])
    refused = {1: "1.png has 5,000 pixels, limit 4,999; raise with --max-pixels"}
    assert build(paths, tmp_path, max_pixels=4999)[1] == refused
    cache, problems, _ = build(paths, tmp_path)
    assert problems == {}
    cache, problems, _ = build(paths, tmp_path, max_pixels=4999)
    assert problems == refused and (cache.read([1]) == 0).all()


def test_frames_and_extreme_shapes_are_counted_each_time(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (1, 3000)).save(tmp_path / "s.png")
    Image.new("RGB", (20, 1)).save(tmp_path / "t.png")
    Image.new("RGB", (19, 1)).save(tmp_path / "u.png")
    paths = [tmp_path / name for name in ("a.gif", "s.png", "t.png", "u.png")]
    for _ in range(2):
        cache, problems, notes = build(paths, tmp_path)
        assert problems == {}
        assert notes == [
            "1 file has several frames; first is used",
            "2 pictures have an extreme shape: s.png 1x3000, t.png 20x1",
        ]
        assert (cache.read([0]) == (255, 0, 0)).all()
    assert "2 files have several frames; first is used" in build([paths[0]] * 2, tmp_path)[2]


def save_float(path: Path, *values: float) -> Path:
    Image.fromarray(np.array([values], np.float32)).save(path)
    return path


def test_float_pictures_share_one_white(tmp_path: Path) -> None:
    dark = save_float(tmp_path / "dark.tif", 0.5, 0.5)  # by itself it would be half white
    bright = save_float(tmp_path / "bright.tif", 51.0, 255.0)
    plain = make_pictures(tmp_path / "p", 1)[0]
    for _ in range(2):
        cache, problems, notes = build([dark, bright, plain], tmp_path, interpolation="nearest")
        assert problems == {} and cache.white == 255
        assert notes == ["2 pictures have float or 32-bit grey values: 0 is black, 255 is white"]
        rows = cache.read([0, 1])
        assert (rows[0] <= 1).all() and (rows[1][:, :6] == 51).all() and (rows[1][:, 6:] == 255).all()
    # Predicting one of them alone, with the white of training, gives the same pixels.
    alone, _, _ = build([dark], tmp_path, interpolation="nearest", white=cache.white)
    assert (alone.read([0]) == rows[0]).all() and alone.white == 255
    own, _, _ = build([dark], tmp_path, interpolation="nearest")
    assert (own.read([0]) == 128).all() and own.white == 1
    _, problems, _ = build([bright, dark], tmp_path, white=1.0)
    assert problems == {0: "bright.tif has values up to 255, but white is 1: scale it alike"}
    assert build([plain], tmp_path)[0].white is None


def test_brightness_alone_tells_classes_apart(tmp_path: Path) -> None:
    for value in (4096, 8192):
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(tmp_path / f"{value}.png")
    cache, _, _ = build([tmp_path / "4096.png", tmp_path / "8192.png"], tmp_path)
    rows = cache.read([0, 1])
    assert (rows[0] == 16).all() and (rows[1] == 32).all()


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    for options in ({"resize": "stretch"}, {"interpolation": "cubic"}):
        with pytest.raises(ImageError, match="there is no"):
            build([], tmp_path, **options)
    with pytest.raises(ImageError, match="image size"):
        build_image_cache([], size=(0, 4), cache_dir=tmp_path)
    assert len(build([], tmp_path)[0]) == 0


# -------------------------------------------------------------------------------- disks, kills and neighbours


def test_without_a_usable_folder_pictures_are_decoded_at_each_reading(tmp_path: Path) -> None:
    paths = make_pictures(tmp_path / "p", 3)
    (tmp_path / "file").touch()
    bad = tmp_path / "file" / "cache"
    cache, problems, notes = build(paths, tmp_path, cache_dir=bad)
    assert cache.folder is None and problems == {}
    assert notes[0] == f"image cache {bad} cannot be used: Not a directory"
    assert notes[1] == "there is no image cache: pictures are decoded each time they are read"
    check_rows(cache, paths)
    check_rows(cache, paths)


def test_a_full_disk_is_said_and_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = make_pictures(tmp_path / "p", 9)
    monkeypatch.setattr(imagecache, "WAITING_ROWS", 2)
    write, written = os.write, [0]

    def write_until_full(file: int, data: memoryview) -> int:
        if len(data) >= 16 * 12 * 3:
            if written[0] == 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written[0] += 1
        return write(file, data)

    monkeypatch.setattr(os, "write", write_until_full)
    cache, problems, notes = build(paths, tmp_path)
    assert problems == {} and len(notes) == 1
    assert "takes no more (No space left on device): the pictures that are not in it are decoded" in notes[0]
    check_rows(cache, paths)
    monkeypatch.undo()
    cache, _, notes = build(paths, tmp_path)
    assert cache.decoded == 6 and notes == []
    check_rows(cache, paths)


def test_rows_that_were_damaged_on_disk_are_decoded_again(tmp_path: Path) -> None:
    paths = make_pictures(tmp_path / "p", 5)
    build(paths, tmp_path)
    pixels = next(tmp_path.glob("cache/images/*.pixels"))
    with open(pixels, "r+b") as file:
        file.seek(2 * 16 * 12 * 3)
        file.write(bytes(100))
    os.truncate(pixels, 4 * 16 * 12 * 3 + 7)
    cache, _, _ = build(paths, tmp_path)
    check_rows(cache, paths)
    check_rows(cache, paths)


def test_a_picture_that_changes_in_use_is_never_taken_for_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = make_pictures(tmp_path / "p", 2)
    cache, _, _ = build(paths, tmp_path, cache_dir=tmp_path / "file")
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(ImageError, match="1.png was changed while it was in use"):
        cache.read([0, 1])
    paths[1].unlink()
    with pytest.raises(ImageError, match="1.png is missing"):
        cache.read([1])


def test_the_cache_may_be_deleted_while_it_is_read(tmp_path: Path) -> None:
    paths = make_pictures(tmp_path / "p", 3)
    cache, _, _ = build(paths, tmp_path)
    if sys.platform != "win32":
        for path in tmp_path.glob("cache/images/*"):
            path.unlink()
    check_rows(cache, paths)


def test_several_threads_read_at_once(tmp_path: Path) -> None:
    paths = make_pictures(tmp_path / "p", 12)
    cache, _, _ = build(paths, tmp_path)
    right = np.stack([decode_image(path, SIZE) for path in paths])
    wrong: list[int] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(50):
            rows = rng.integers(0, 12, 7)
            if not (cache.read(rows) == right[rows]).all():
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


FILL = """
import os, sys, time
from pathlib import Path
from tenfold.data.images import cache as imagecache
from tenfold.data.images.cache import build_image_cache
imagecache.WAITING_ROWS = 3
folder, cache, stop = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def tell(done, total):
    if done == stop:
        print("here", flush=True)
        time.sleep(60)
paths = sorted(folder.iterdir())
cache, problems, notes = build_image_cache(paths, size=(16, 12), cache_dir=cache, on_progress=tell)
assert problems == {} and notes == []
"""


def start_filling(folder: Path, cache: Path, stop: int = -1) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FILL, str(folder), str(cache), str(stop)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def test_two_processes_fill_at_once(tmp_path: Path) -> None:
    paths = sorted(make_pictures(tmp_path / "p", 60))
    both = [start_filling(tmp_path / "p", tmp_path / "cache") for _ in range(2)]
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0]
    cache, _, _ = build(paths, tmp_path)
    assert cache.decoded == 0
    check_rows(cache, paths)
    assert next(tmp_path.glob("cache/images/*.pixels")).stat().st_size == 60 * 16 * 12 * 3


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_killed_process_leaves_only_whole_rows(tmp_path: Path) -> None:
    paths = sorted(make_pictures(tmp_path / "p", 20))
    process = start_filling(tmp_path / "p", tmp_path / "cache", stop=10)
    assert process.stdout is not None and process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    cache, problems, _ = build(paths, tmp_path)
    assert problems == {} and 10 <= cache.decoded <= 14
    check_rows(cache, paths)


@pytest.mark.real
def test_real_photos_in_the_cache_are_what_decoding_gives(tmp_path: Path, data_folder: Path) -> None:
    paths = sorted((data_folder / "coffee-leaf" / "images").glob("*.jpg"))[:40]
    cache, problems, notes = build_image_cache(paths, size=(96, 128), cache_dir=tmp_path)
    assert problems == {} and notes == []
    for row in (0, 13, 39):
        assert (cache.read([row])[0] == decode_image(paths[row], (96, 128))).all()


def test_keys_of_two_caches_are_equal_where_pictures_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo, copy, other = tmp_path / "a.jpg", tmp_path / "b.png", tmp_path / "c.jpg"
    Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(photo)
    with Image.open(photo) as picture:
        picture.save(copy)  # the same pixels in another format
    Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(other)
    jpegs, pngs = build([photo, other], tmp_path)[0], build([copy, copy], tmp_path)[0]
    # A JPEG is decoded at a part of its size, which says nothing about a PNG.
    assert not np.isin(jpegs.pictures(), pngs.pictures()).any()
    first, second = jpegs.pictures(pngs.sizes()), pngs.pictures(jpegs.sizes())
    assert first[0] == second[0] == second[1] != first[1]
