"""The examples at the end of each `--help`."""

from __future__ import annotations

#: command -> what is typed, a line each.
EXAMPLES = {
    "run": (
        "esbench run --preset quick",
        "esbench run -d kodak24 --sigma 25 --sigma 50 -c cifs-jpeg -c wmv --out kodak",
        "esbench run -d photos/ --crop 128 --iterations 3000 --dry-run",
    ),
    "denoise": (
        "esbench denoise photo.png -o better.png",
        "esbench denoise photo.png -o better.png --sigma 25 --report why.html",
    ),
    "restore": (
        "esbench restore --task 'superres[factor=4]' small.png -o large.png",
        "esbench restore --task inpaint --mask holes.png photo.png -o whole.png",
        "esbench restore --task jpeg photo.jpg -o better.png",
    ),
    "resume": ("esbench resume kodak", "esbench resume kodak --budget 9m --retry-failed"),
    "watch": ("esbench watch kodak",),
    "ctl": ("esbench ctl kodak pause", "esbench ctl kodak resume"),
    "recommend": ("esbench recommend",),
    "list-criteria": ("esbench list-criteria", "esbench list-criteria --json"),
    "list": ("esbench list codecs", "esbench list networks"),
    "show": ("esbench show cifs-jpeg", "esbench show skip --kind network"),
    "plugins": ("esbench plugins",),
    "measure": ("esbench measure -c brisque -c niqe photo.png", "esbench measure -c 'cifs-jpeg[lam=0]' *.png --json"),
    "report": ("esbench report kodak", "esbench report kodak --out report/"),
    "replay": ("esbench replay kodak --patience 500", "esbench replay kodak -c 'cifs-jpeg[lam=1e6]' -c wmv"),
    "compare": ("esbench compare kodak -c wmv -c cifs-jpeg", "esbench compare before after -c cifs-jpeg"),
    "status": ("esbench status kodak",),
    "export": ("esbench export kodak -o kodak.csv", "esbench export kodak --format parquet -o kodak.parquet"),
    "leaderboard": ("esbench leaderboard kodak theirs.csv --out site/",),
    "calibrate": ("esbench calibrate -c cifs-webp -d photos/ --sigma 25",),
    "reproduce": ("esbench reproduce fig1", "esbench reproduce table1 --images 2 --budget 9m"),
    "data list": ("esbench data list",),
    "data fetch": ("esbench data fetch kodak24",),
    "data verify": ("esbench data verify kodak24",),
    "data path": ("esbench data path kodak24",),
    "check-criterion": ("esbench check-criterion my-criterion",),
    "new-plugin": ("esbench new-plugin my-criterion", "esbench new-plugin my-codec --kind codec"),
    "env": ("esbench env",),
}


def examples(command: str) -> str:
    """Return the examples of a command as the end of its help, kept in lines; nothing for a group."""
    lines = "\n".join(f"  {line}" for line in EXAMPLES.get(command, ()))
    return lines and f"\b\nExamples:\n{lines}"
