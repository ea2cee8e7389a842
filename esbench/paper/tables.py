"""The CIFS paper's tables with our numbers beside the paper's."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from esbench.paper import artefacts
from esbench.tables import Table

Row = dict[str, Any]

#: The compared methods; the best of them is in bold.
RIVALS = (*artefacts.METHODS, artefacts.CIFS_OF_FIG2)

METHODS = (*RIVALS, "No ES", "Peak")


def compared(rows: Sequence[Row]) -> list[Row]:
    """Return for each dataset, noise level and method our PSNR and gap and the paper's, as records.

    Args:
        rows: rows of the results table; those of `artefacts.CIFS_OF_FIG2` have it as their criterion.
    """
    groups: dict[tuple[str, float], dict[str, list[Row]]] = {}
    for row in rows:
        methods = groups.setdefault((row["dataset"], row["sigma"]), {})
        methods.setdefault(method_of(row), []).append(row)
    found = []
    for (dataset, sigma), methods in sorted(groups.items()):
        units = list({row["unit"]: row for mine in methods.values() for row in mine}.values())
        last = [row | {"psnr_db": row["last_db"], "gap_db": row["peak_db"] - row["last_db"]} for row in units]
        peak = [row | {"psnr_db": row["peak_db"], "gap_db": 0.0} for row in units]
        for method, mine in (methods | {"No ES": last, "Peak": peak}).items():
            psnr, gaps = [row["psnr_db"] for row in mine], [row["gap_db"] for row in mine]
            mean, deviation = artefacts.TABLE1.get((dataset, sigma), {}).get(_asked(method), (None, None))
            found.append(
                {
                    "dataset": dataset,
                    "sigma": sigma,
                    "method": method,
                    "pictures": len(mine),
                    "never_stopped": sum(row["fallback"] for row in mine) if method in RIVALS else None,
                    "psnr_db": statistics.fmean(psnr),
                    "psnr_std_db": statistics.pstdev(psnr),
                    "paper_psnr_db": mean,
                    "paper_psnr_std_db": deviation,
                    "gap_db": statistics.fmean(gaps),
                    "paper_gap_db": _paper_gap(dataset, sigma, _asked(method)),
                }
            )
    return found


def psnr(records: Sequence[Row]) -> Table:
    """Return table 1: mean ± standard deviation of the PSNR, a line for ours and one for the paper's; best in bold."""
    return _pairs(
        records,
        lambda record: _with_deviation(record["psnr_db"], record["psnr_std_db"]),
        lambda record: _with_deviation(record["paper_psnr_db"], record["paper_psnr_std_db"]),
        max,
    )


def gaps(records: Sequence[Row]) -> Table:
    """Return the numbers of figure 3: the mean gap to the peak, one line for ours and one for the paper's."""
    shown = [record for record in records if record["method"] != "Peak"]
    return _pairs(shown, lambda record: _number(record["gap_db"]), lambda r: _number(r["paper_gap_db"]), min)


def never_stopped(records: Sequence[Row]) -> list[str]:
    """Return sentences about the methods that did not stop on some pictures."""
    found: dict[tuple[str, float], list[str]] = {}
    for record in records:
        if record["never_stopped"]:
            times = f"{record['method']} {record['never_stopped']} of {record['pictures']}"
            found.setdefault((record["dataset"], record["sigma"]), []).append(times)
    return [
        f"{dataset}, sigma {sigma:g}: not stopped, and counted with the last step: {', '.join(methods)}."
        for (dataset, sigma), methods in found.items()
    ]


def numbers(records: Sequence[Mapping[str, Any]]) -> Table:
    """Return records unchanged as a table, for a file."""
    return Table(tuple(records[0]), [tuple(record.values()) for record in records])


def sizes(rows: Iterable[Row]) -> list[Row]:
    """Return the numbers of figure 1 per noise level, as records: sizes in 1000 bytes, and bytes per pixel."""
    levels: dict[float, list[Row]] = {}
    for row in rows:
        levels.setdefault(row["sigma"], []).append(row)
    found = []
    for sigma, mine in sorted(levels.items()):
        density = [row["bytes"] / row["pixels"] for row in mine]
        same = [row for row in mine if (row["dataset"], row["image"]) == ("cbsd68", artefacts.FIG1_PICTURE)]
        paper = artefacts.FIG1_KILOBYTES.get(sigma)
        found.append(
            {
                "sigma": sigma,
                "pictures": len(mine),
                "kilobytes": statistics.fmean(row["bytes"] for row in mine) / 1000,
                "bytes_per_pixel": statistics.fmean(density),
                "lowest": min(density),
                "highest": max(density),
                "picture_kilobytes": same[0]["bytes"] / 1000 if same and same[0]["crop"] is None else None,
                "paper_kilobytes": paper,
                "paper_bytes_per_pixel": None if paper is None else 1000 * paper / artefacts.FIG1_PIXELS,
            }
        )
    return found


def size_table(records: Sequence[Row]) -> Table:
    """Return figure 1 as a table."""
    head = (
        *("sigma", "pictures", "mean kB", "mean B/pixel", "lowest", "highest"),
        *(f"{artefacts.FIG1_PICTURE} here, kB", f"{artefacts.FIG1_PICTURE} paper, kB", "paper B/pixel"),
    )
    digits = (None, None, 1, 3, 3, 3, 1, 1, 3)
    lines = [tuple(map(_digits, record.values(), digits)) for record in records]
    shown = [i for i in range(len(head)) if any(line[i] is not None for line in lines)]
    return Table(tuple(head[i] for i in shown), [tuple(line[i] for i in shown) for line in lines])


def rising(rows: Iterable[Row]) -> tuple[int, int]:
    """Return on how many pictures the size rises from each noise level to the next, and the number of pictures."""
    pictures: dict[str, list[Row]] = {}
    for row in rows:
        pictures.setdefault(row["image"], []).append(row)
    sizes = [[row["bytes"] for row in sorted(mine, key=lambda row: row["sigma"])] for mine in pictures.values()]
    return sum(all(a < b for a, b in itertools.pairwise(s)) for s in sizes), len(sizes)


def lams(records: Sequence[Row]) -> Table:
    """Return figure 2 as a table: the best mu of each objective, and the one chosen with a margin, by the rule."""
    columns = {
        "sigma": "sigma",
        "pictures": "pictures",
        "windowed_mu": "mu, chosen",
        "windowed_psnr_db": "PSNR (dB)",
        "windowed_best_mu": "best by the rule",
        "windowed_best_psnr_db": "PSNR (dB)",
        "global_best_mu": "best by argmin E",
        "global_best_psnr_db": "PSNR (dB)",
        "peak_db": "peak (dB)",
        "paper_mu": "the paper's lam",
    }
    cells = [tuple(_number(r[key]) if key.endswith("_db") else r[key] for key in columns) for r in records]
    return Table(tuple(columns.values()), cells)


def stops(rows: Sequence[Row]) -> list[Row]:
    """Return the numbers of figure 4, as records: the stop of each method on each picture, and the paper's."""
    return [
        {
            "dataset": row["dataset"],
            "image": row["image"],
            "method": method_of(row),
            "stop_step": row["stop_step"],
            "never_stopped": row["fallback"],
            "paper_stop_step": paper_stop(row),
            "psnr_db": row["psnr_db"],
            "gap_db": row["gap_db"],
            "peak_step": row["peak_step"],
        }
        for row in rows
    ]


def stop_table(records: Sequence[Row]) -> Table:
    """Return figure 4 as a table."""
    head = ("picture", "method", "stop here", "stop in the paper", "PSNR (dB)", "gap (dB)", "peak at")
    return Table(
        head,
        [
            (
                *(record["image"], record["method"]),
                f"{record['stop_step']}{' (not stopped)' if record['never_stopped'] else ''}",
                *(record["paper_stop_step"], _number(record["psnr_db"]), _number(record["gap_db"])),
                record["peak_step"],
            )
            for record in records
        ],
    )


def method_of(row: Row) -> str:
    """Return the paper's name of a row's criterion."""
    return next((name for name, text in artefacts.METHODS.items() if text == row["criterion"]), str(row["criterion"]))


def paper_stop(row: Row) -> int | None:
    """Return the stop of a row in the paper's figure 4, or None."""
    if row["dataset"] != "cbsd68" or row["sigma"] != 25:
        return None
    return artefacts.FIG4_STOPS.get(row["image"], {}).get(method_of(row))


def _pairs(records: Sequence[Row], ours: Any, theirs: Any, best: Any) -> Table:
    methods = [name for name in METHODS if any(record["method"] == name for record in records)]
    groups: dict[tuple[str, float], dict[str, Row]] = {}
    for record in records:
        groups.setdefault((record["dataset"], record["sigma"]), {})[record["method"]] = record
    lines: list[tuple[Any, ...]] = []
    bold = set()
    for (dataset, sigma), found in groups.items():
        n = max(record["pictures"] for record in found.values())
        for source, cell in ((f"here, {n} picture{'s' if n > 1 else ''}", ours), ("paper", theirs)):
            cells = {name: cell(record) for name, record in found.items()}
            values = {name: float(cells[name].split()[0]) for name in RIVALS if cells.get(name)}
            bold |= {(len(lines), 3 + methods.index(name)) for name, v in values.items() if v == best(values.values())}
            lines.append((dataset, f"{sigma:g}", source, *(cells.get(name) for name in methods)))
    return Table(("dataset", "sigma", "", *methods), lines, frozenset(bold))


def _asked(method: str) -> str:
    return "CIFS" if method == artefacts.CIFS_OF_FIG2 else method


def _paper_gap(dataset: str, sigma: float, method: str) -> float | None:
    row = artefacts.TABLE1.get((dataset, sigma))
    if row is not None:
        return round(row["Peak"][0] - row[method][0], 3)
    if dataset != "cbsd68" or sigma not in artefacts.LEVELS:
        return None
    return 0.0 if method == "Peak" else artefacts.FIG3_GAP_DB[method][artefacts.LEVELS.index(sigma)]


def _with_deviation(mean: float | None, deviation: float | None) -> str | None:
    return None if mean is None else f"{mean:.2f} ± {deviation:.2f}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _digits(value: Any, n: int | None) -> Any:
    return value if n is None or value is None else f"{value:.{n}f}"
