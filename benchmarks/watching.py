"""The pictures of the live page in the docs: `ESBENCH_DATA=... python -m benchmarks.watching`.

A small unit is optimised in this process and watched in Chromium: docs/images/watch.png is the page in the middle of
it, docs/images/watch.webp its minutes in some seconds.
"""

from __future__ import annotations

import io
import sys
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from esbench.bench import driver
from esbench.bench.config import Config
from esbench.live.server import Server
from esbench.live.source import WatchedRun

ROOT = Path(__file__).parents[1]
CONFIG = Config(
    criterion=("cifs-jpeg", "wmv", "discrepancy"),
    crop=96,
    network="skip[channels=16,scales=3]",
    iterations=900,
    patience=150,
    device="cpu",
)

#: Seconds between two frames as they are recorded, and as they are shown.
RECORDED, SHOWN = 1.0, 0.12

#: The width of a frame in pixels, the most frames that are shown, and the most bytes of the picture.
WIDTH, SHOWS, MOST = 640, 36, 180_000


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import Browser

    with tempfile.TemporaryDirectory() as scratch:
        folder, frames = Path(scratch) / "RUN", []
        planned = driver.plan(CONFIG, folder)
        work = threading.Thread(target=driver.run, args=(CONFIG, folder, planned, lambda event: None), daemon=True)
        work.start()
        while not (folder / "run.toml").exists():
            time.sleep(0.1)
        browser, shot = Browser(Path(scratch) / "profile"), Path(scratch) / "shot.png"
        with Server(lambda query: WatchedRun(folder, query)) as server:
            tab = browser.tab(1200, 900)
            tab.open(server.url)
            tab.until("document.querySelectorAll('#curves polyline').length >= 3")
            while tab.run("document.querySelector('.kind')?.textContent") == "esbench watch":
                tab.picture(shot)
                frames.append(Image.open(io.BytesIO(shot.read_bytes())).convert("RGB"))
                time.sleep(RECORDED)
            work.join()
        browser.close()
    middle = frames[2 * len(frames) // 3]
    middle.quantize(128).save(ROOT / "docs/images/watch.png", optimize=True)
    frames = [frames[i * len(frames) // SHOWS] for i in range(SHOWS)] if len(frames) > SHOWS else frames
    small = [frame.resize((WIDTH, WIDTH * frame.height // frame.width), Image.Resampling.LANCZOS) for frame in frames]
    lengths = [*([round(1000 * SHOWN)] * (len(small) - 1)), 2000]
    first, *others = small
    path = ROOT / "docs/images/watch.webp"
    for quality in (25, 15, 8, 4):
        first.save(path, save_all=True, append_images=others, duration=lengths, loop=0, quality=quality, method=4)
        if path.stat().st_size <= MOST:
            break
    for name in ("watch.png", "watch.webp"):
        print(name, (ROOT / "docs/images" / name).stat().st_size, "bytes,", len(small), "frames")


if __name__ == "__main__":
    main()
