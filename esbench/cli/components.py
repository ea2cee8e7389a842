"""List installed components (criteria, codecs, datasets, ...) and the plugins that provide them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from esbench import params
from esbench.cli.output import json_option, print_json, print_table, say, say_indented
from esbench.errors import EsbenchError, did_you_mean
from esbench.records import CodecInfo, CriterionInfo, DatasetInfo, LossInfo, NetworkInfo, TaskInfo
from esbench.registry import PLURAL, Record, parameters, registry


@click.command("list-criteria")
@json_option
def list_criteria_command(as_json: bool) -> None:
    """List the criteria that are installed, with their owners."""
    _list("criterion", as_json)


@click.command("list")
@click.argument("kind", type=click.Choice([*PLURAL.values(), *PLURAL]), metavar="KIND")
@json_option
def list_command(kind: str, as_json: bool) -> None:
    """List the components of a kind, with their owners.

    KIND is criteria, codecs, datasets, degradations, tasks, losses, regularisers, networks, inputs, baselines or
    executors; the singular is accepted too.
    """
    _list(next(singular for singular, plural in PLURAL.items() if kind in (singular, plural)), as_json)


@click.command("show")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(list(PLURAL)),
    metavar="KIND",
    help=f"Required if several kinds have the name: {', '.join(PLURAL)}.",
)
@json_option
def show_command(name: str, kind: str | None, as_json: bool) -> None:
    """Show one component: its parameters with defaults and ranges, reference, owner and needs."""
    bare = params.split(name)[0]
    kinds = [kind] if kind else list(PLURAL)
    found = [k for k in kinds if any(bare in (r.info.name, r.qualified) for r in registry().records[k])]
    if len(found) > 1:
        raise click.UsageError(f"{bare!r} is a {' and a '.join(found)}: choose one with --kind.")
    record = registry().find(found[0] if found else kind or "criterion", bare)
    if as_json:
        print_json(_row(record))
        return
    say(f"{record.info.name}: {record.info.summary}", "")
    facts = _facts(record)
    width = max(10, *map(len, facts))
    for key, value in facts.items():
        say_indented(f"  {key:{width}} ", str(value))
    known = parameters(record)
    say("", "Parameters:" if known else "No parameters.")
    rows = [
        (
            p.name,
            params.describe(p.annotation),
            "required" if p.default is params.REQUIRED else params.plain(p.default),
        )
        for p in known.values()
    ]
    if rows:
        print_table(("name", "valid values", "default"), rows)


def _facts(record: Record) -> dict[str, Any]:
    """Return the properties of a component that `show` prints besides its parameters, by heading."""
    info = record.info
    facts: dict[str, Any] = {
        "kind": record.kind,
        "owner": record.owner,
        "version": info.version,
        "reference": info.reference or "none",
    }
    if isinstance(info, CriterionInfo):
        facts["needs"] = ", ".join(info.needs) or "only the output"
        facts["memory"] = "yes" if isinstance(_target(record), type) else "no: its value depends on one output"
    if isinstance(info, LossInfo):
        facts["needs"] = ", ".join(info.needs) or "only the output and the observation"
    if isinstance(info, TaskInfo | LossInfo):
        settings = ("noise", "criterion", "loss", "network", "input", "learning_rate", "perturbation")
        own = {name: getattr(info, name, None) for name in settings}
        facts |= {name.replace("_", " "): value for name, value in own.items() if value is not None}
    if isinstance(info, CodecInfo):
        facts["lossless"] = "yes" if info.lossless else "no"
    if isinstance(info, DatasetInfo):
        facts |= {"pictures": info.images or "unknown", "terms": info.licence or "unknown"}
    if isinstance(info, NetworkInfo):
        channels = f"{info.depth} channels" if isinstance(info.depth, int) else f"channels given by {info.depth!r}"
        facts["input"] = f"{info.input}, {channels}" if info.input == "noise" else info.input
        facts |= {"perturbation": f"{info.perturbation:.3g}", "learning rate": params.plain(info.learning_rate)}
    return facts


@click.command("plugins")
@click.option("--traceback", "of", metavar="NAME", help="Show the traceback of a broken plugin.")
@json_option
def plugins_command(of: str | None, as_json: bool) -> None:
    """List all plugins: ok, broken, blocked or in conflict, and why."""
    plugins = registry().host.plugins
    if of is not None:
        matching = [p for p in plugins if of in (p.name, p.distribution)]
        if not matching:
            raise click.UsageError(f"No plugin {of!r}. {did_you_mean(of, [p.name for p in plugins])}".strip())
        if as_json:
            print_json([{"name": p.name, "distribution": p.distribution, "traceback": p.traceback} for p in matching])
            return
        for p in matching:
            say(*(p.traceback or f"{p.name}: no failure").split("\n"))
        return
    if as_json:
        print_json(
            [
                {
                    "name": p.name,
                    "distribution": p.distribution,
                    "version": p.version,
                    "status": p.status,
                    "reason": p.reason,
                    "provides": {PLURAL[kind]: [i.name for i in infos] for kind, infos in p.records.items() if infos},
                }
                for p in plugins
            ]
        )
        return
    rows = [(p.name, p.distribution, p.version, p.status, p.reason or _provides(p.records)) for p in plugins]
    print_table(("plugin", "distribution", "version", "status", "provides, or reason"), rows)


def _provides(records: dict[str, Any]) -> str:
    return ", ".join(
        f"{len(infos)} {PLURAL[kind] if len(infos) > 1 else kind}" for kind, infos in records.items() if infos
    )


def _list(kind: str, as_json: bool) -> None:
    records = registry().records[kind]
    broken = [p for p in registry().host.plugins if p.status == "broken"] if kind == "criterion" else []
    if as_json:
        rows = [_row(record) for record in records]
        rows += [
            {
                "name": p.name,
                "summary": "",
                "distribution": p.distribution,
                "version": p.version,
                "status": "broken",
                "reason": p.reason,
                "parameters": {},
                "needs": [],
                "reference": "",
            }
            for p in broken
        ]
        print_json(rows)
        return
    lines = [(r.info.name, r.owner, r.status, r.reason or r.info.summary) for r in records]
    lines += [(p.name, f"{p.distribution} {p.version}", "broken", p.reason) for p in broken]
    print_table((kind, "owner", "status", "summary, or reason"), lines)


def _row(record: Record) -> dict[str, Any]:
    status, reason, schema = record.status, record.reason, {}
    if status in ("ok", "conflict"):
        try:
            schema = params.schema(parameters(record))
        except EsbenchError as error:
            status, reason = "broken", str(error)
    info = asdict(record.info)
    return {
        "name": record.info.name,
        "summary": record.info.summary,
        "distribution": record.distribution,
        "version": record.distribution_version,
        "status": status,
        "reason": reason,
        "parameters": schema,
        "needs": list(info.get("needs", ())),
        "reference": record.info.reference,
    }


def _target(record: Record) -> Any:
    from esbench.registry import load

    return load(record, record.info.target)
