"""Make the pictures of the documentation again: `python -m benchmarks.images`, a few minutes on a CPU.

quick-pictures.png, quick-curves.png: of `esbench run --preset quick`, as docs/quick-start.md has it. stopper-plot.png:
of the first program in docs/stopper.md. report.png, unit.png, leaderboard.png: the pages of the report of that run and
of the leaderboard of results/, in Debian's Chromium (/usr/bin/chromium).
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.pages import ROWS
from esbench.cli import cli

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

#: The most bytes of a picture.
MOST = 180_000

from browser import Browser  # noqa: E402


def esbench(*arguments: Any) -> None:
    cli.main([str(argument) for argument in arguments], standalone_mode=False)


def quick(out: Path, work: Path) -> Path:
    """Run the quick preset and return its report."""
    esbench("run", "--preset", "quick", "--out", work / "quick")
    for name in ("pictures", "curves"):
        small(Image.open(work / f"quick/report/{name}.png"), out / f"quick-{name}.png")
    esbench("report", work / "quick")
    return work / "quick/report/index.html"


def stopper(out: Path) -> None:
    """Draw the curve of the first program in docs/stopper.md."""
    from matplotlib.figure import Figure

    (code, *_) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/stopper.md").read_text("utf-8"), re.M | re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    names["stopper"].plot(figure.subplots())
    figure.savefig(out / "stopper-plot.png", dpi=110)


def pages(out: Path, work: Path, shown: dict[str, tuple[Path, str]]) -> None:
    """Take pictures of pages in Chromium: each from the element of a selector on."""
    browser = Browser(work / "chromium")
    try:
        for name, (page, selector) in shown.items():
            tab = browser.tab(1100, 760)
            tab.open(page)
            tab.run(f"document.querySelector({selector!r}).scrollIntoView()")
            tab.picture(work / "page.png")
            small(Image.open(work / "page.png"), out / f"{name}.png")
            tab.close()
    finally:
        browser.close()


def small(image: Image.Image, path: Path) -> None:
    """Save a picture; with few colours if it takes too many bytes otherwise."""
    image.convert("RGB").save(path, optimize=True)
    if path.stat().st_size > MOST:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, path.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        stopper(out)
        report = quick(out, work)
        esbench("leaderboard", *(ROOT / rows for rows in ROWS), "--out", work / "board", "--json")
        shown = {
            "report": (report, "h1"),
            "unit": (report, "#unit-view"),
            "leaderboard": (work / "board/index.html", "h1"),
        }
        pages(out, work, shown)
        shutil.rmtree(work / "chromium", ignore_errors=True)


if __name__ == "__main__":
    main()
