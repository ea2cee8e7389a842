"""Run the conformance checks on a criterion."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict

import click

from esbench.cli.output import json_option, print_json, print_table, say


@click.command("check-criterion")
@click.argument("name")
@json_option
@click.pass_context
def check_criterion_command(ctx: click.Context, name: str, as_json: bool) -> None:
    """Run the conformance checks on a criterion, `name` or `name[key=value]`; exit code 1 if one fails."""
    from esbench.testing import check_criterion

    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints
        findings = check_criterion(name)
    failed = [finding for finding in findings if finding.status == "failed"]
    if as_json:
        print_json([asdict(finding) for finding in findings])
        ctx.exit(1 if failed else 0)
    first = {finding.came: finding for finding in reversed(findings) if finding.status == "failed"}
    print_table(
        ("check", "status", "result"),
        [(f.check, f.status, f.came if first.get(f.came, f) is f else f"as {first[f.came].check}") for f in findings],
    )
    for finding in findings:
        if finding.advice and first.get(finding.came, finding) is finding:  # a cause is printed once
            sentence = f"{finding.check}: {finding.tried}: {finding.came}. {finding.advice}"
            say("", sentence)
    warned = sum(finding.status == "warning" for finding in findings)
    warnings = f", with {warned} warning{'s' if warned > 1 else ''}" if warned else ""
    verdict = f"fails {len(failed)} of {len(findings)} checks" if failed else f"passes all checks{warnings}"
    say("", f"{name} {verdict}.")
    ctx.exit(1 if failed else 0)
