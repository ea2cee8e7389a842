"""The templates of `esbench new-plugin`: a distribution with one component, which is a working example."""

from __future__ import annotations

import keyword
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from esbench.errors import UsageError
from esbench.records import NAME


@dataclass(frozen=True)
class PluginKind:
    """One kind of plugin.

    Attributes:
        what: its name in a sentence.
        code: the file of the component.
        summary: the summary of the example.
        check: the command that checks the plugin.
    """

    what: str
    code: str
    summary: str
    check: str


KINDS = {
    "criterion": PluginKind(
        "criterion", "criterion", "mean step between neighbouring pixels", "esbench check-criterion $name"
    ),
    "criterion-with-memory": PluginKind(
        "criterion with memory", "criterion", "smoothed movement of the output", "esbench check-criterion $name"
    ),
    "codec": PluginKind(
        "codec",
        "codec",
        "DEFLATE of the differences between rows",
        "esbench check-criterion 'cifs-$name[lam=1e6]'",
    ),
    "dataset": PluginKind(
        "dataset", "dataset", "ramps of grey in three directions", "esbench show --kind dataset $name"
    ),
    "degradation": PluginKind(
        "degradation", "degradation", "additive uniform noise", "esbench show --kind degradation $name"
    ),
}


def write(name: str, kind: str, where: Path) -> tuple[Path, str]:
    """Write a plugin into a folder, and return its own folder and the command that checks it.

    Raises:
        UsageError: the name is invalid, or the folder exists.
    """
    name = name.removeprefix("esbench-")
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(
            f"A name must consist of a-z, 0-9 and '-', start with a letter and not be a Python keyword, got {name!r}."
        )
    folder = where / f"esbench-{name}"
    if os.path.lexists(folder):  # also a link that leads nowhere
        raise UsageError(f"{folder.name!r} already exists: choose another name, or remove it.")
    files, check = plugin(name, kind)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder, check


def plugin(name: str, kind: str) -> tuple[dict[str, str], str]:
    """Return the files of a plugin, path to text, and the command that checks it."""
    of = KINDS[kind]
    function = name.replace("-", "_")
    words = {
        "name": name,
        "function": function,
        "cls": "".join(part.capitalize() for part in name.split("-")),
        "module": f"esbench_{function}",
        "distribution": f"esbench-{name}",
        "what": of.what,
        "summary": of.summary,
    }
    words["check"] = Template(of.check).substitute(words)
    module = words["module"]
    sources = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"{module}/__init__.py": f"{kind}/module.txt",
        f"{module}/{of.code}.py": f"{kind}/{of.code}.txt",
        f"tests/test_{function}.py": f"{kind}/test.txt",
    }
    template = resources.files("esbench.templates").joinpath("plugin")
    files = {
        path: Template(template.joinpath(source).read_text(encoding="utf-8")).substitute(words)
        for path, source in sources.items()
    }
    return files, words["check"]
