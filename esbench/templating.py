"""Pages from templates. Values are escaped, except the output of other templates."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(name: str, /, **values: Any) -> Markup:
    """Render a template of `pages`."""
    from markupsafe import Markup

    return Markup(_environment().get_template(name).render(values))  # noqa: S704 - a template escapes by itself


def page(name: str, scripts: Sequence[str], /, **values: Any) -> str:
    """Render a complete page.

    Args:
        name: the template.
        scripts: the files of its script. The page allows only this script, by its digest.
        values: the values of the template.
    """
    from markupsafe import Markup

    code = "".join(map(source, scripts))
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    script, style = Markup(code), Markup(source("page.css"))  # noqa: S704 - files of esbench
    return str(render(name, script=script, digest=digest, style=style, **values))


def source(name: str) -> str:
    """Return the text of a file of the templates."""
    return resources.files("esbench").joinpath(f"pages/{name}").read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment


def breakable(value: Any) -> Markup:
    """Return a text that may break before and between the parameters of a component."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=\[)|(?<=,)(?! )", str(value)))
