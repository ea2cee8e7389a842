"""Parse and write components with parameters: `cifs-jpeg[quality=90,lam=2e6]` to and from name and values.

The parameters of a component are the keyword parameters of its target, with their annotations and defaults; they are
declared nowhere else. A parameter annotated as `tuple[int, ...]` takes a list, written with slashes:
`skip[channels=8/16/32]`.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from esbench.errors import ParamError, UsageError, did_you_mean
from esbench.records import Range

REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Param:
    """One parameter. A default of REQUIRED means that it must be given."""

    name: str
    annotation: Any
    default: Any = REQUIRED


def split(text: str) -> tuple[str, dict[str, str]]:
    """Split `name[key=value,...]` into the name and the values as text.

    Raises:
        UsageError: the syntax is invalid.
    """
    if not isinstance(text, str):
        raise UsageError(f"A component is written name[key=value,key=value], got {text!r}.")
    name, bracket, rest = text.strip().partition("[")
    given: dict[str, str] = {}
    if bracket:
        if not rest.endswith("]") or not name:
            raise UsageError(f"A component is written name[key=value,key=value], got {text!r}.")
        for item in filter(None, (item.strip() for item in rest[:-1].split(","))):
            key, equals, value = (part.strip() for part in item.partition("="))
            if not equals or not key or not value or set(value) & set("[]="):
                raise UsageError(f"A component is written name[key=value,key=value], got {item!r} (in {text!r}).")
            if key in given:
                raise UsageError(f"{key} is given twice (in {text!r}).")
            given[key] = value
    return name.strip(), given


def parameters(target: Callable[..., Any], skip: int) -> dict[str, Param]:
    """Return the parameters of a target by name, without its first `skip` arguments (the frame, the image, ...)."""
    if isinstance(target, type) and cast(Any, target).__init__ is object.__init__:
        return {}
    signature = inspect.signature(target)
    scope = _scope(target)
    found = {}
    for p in list(signature.parameters.values())[skip:]:
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            found[p.name] = Param(p.name, _annotation(p, scope), p.default)
    return found


def decide(text: str, given: Mapping[str, str], known: Mapping[str, Param]) -> dict[str, Any]:
    """Return the value of every known parameter: the given one, or the default.

    Raises:
        ParamError: a parameter is unknown, missing, of the wrong type or out of range.
    """
    for key in given:
        if key not in known:
            names = ", ".join(sorted(known)) or "none"
            hint = did_you_mean(key, known)
            raise ParamError(f"No parameter {key!r} (in {text!r}). {hint} It has: {names}.".replace("  ", " "))
    values = {}
    for key, param in known.items():
        if key in given:
            values[key] = convert(given[key], param, text)
        elif param.default is REQUIRED:
            raise ParamError(f"{key} must be given, as in '{split(text)[0]}[{key}=...]' (in {text!r}).")
        else:
            values[key] = param.default
    return values


def canonical(name: str, values: Mapping[str, Any], known: Mapping[str, Param]) -> str:
    """Return the canonical text of a component: sorted keys, without defaults."""
    items = [f"{key}={plain(values[key])}" for key in sorted(values) if values[key] != known[key].default]
    return f"{name}[{','.join(items)}]" if items else name


def plain(value: Any) -> str:
    """Format a value for a component's text: 2000000.0 as 2000000, True as true, (8, 16) as 8/16."""
    if isinstance(value, tuple):
        return "/".join(map(plain, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def convert(text: str, param: Param, where: str) -> Any:
    """Return a parameter's value from its text.

    Raises:
        ParamError: the text does not match the annotation.
    """
    for wanted in _alternatives(param.annotation):
        value = _convert(text, wanted)
        if value is not None:
            if span := _span(param.annotation):
                for item in value if isinstance(value, tuple) else (value,):
                    _check_range(param.name, item, span, where)
            return value
        if wanted is type(None) and text.lower() == "none":
            return None
    raise ParamError(f"{param.name} must be {describe(param.annotation)}, got {text} (in {where!r}).")


def is_writable(default: Any) -> bool:
    """Whether a default can be written as text and as JSON; REQUIRED is none."""
    if isinstance(default, tuple):
        return all(map(is_writable, default))
    if isinstance(default, float):
        return math.isfinite(default)
    return default is REQUIRED or default is None or type(default) in (bool, int, str)


def schema(known: Mapping[str, Param]) -> dict[str, Any]:
    """Return the JSON schema of a component's parameters."""
    properties: dict[str, Any] = {}
    for key, param in known.items():
        entry = _schema_of(param.annotation)
        if param.default is not REQUIRED:
            entry["default"] = list(param.default) if isinstance(param.default, tuple) else param.default
        properties[key] = entry
    required = [key for key, param in known.items() if param.default is REQUIRED]
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def describe(annotation: Any) -> str:
    """Describe the valid values of an annotation: "an integer between 0 and 100"."""
    words = {bool: "true or false", int: "an integer", float: "a number", str: "text", type(None): "none"}
    span = _span(annotation)
    parts = []
    for wanted in _alternatives(annotation):
        if typing.get_origin(wanted) is Literal:
            parts += [str(choice) for choice in typing.get_args(wanted)]
        elif (item := _item(wanted)) is not None:
            each = describe(Annotated[item, span] if span else item)
            parts.append("several with / between them" if parts else f"one or several with / between them: {each}")
        else:
            ranged = f" {_range_words(span)}" if span and wanted in (int, float) else ""
            parts.append((words.get(wanted) or f"{_name(wanted)}, which cannot be written as text") + ranged)
    return " or ".join(parts)


def _scope(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the namespace of a target's annotations."""
    function = inspect.unwrap(cast(Any, target).__init__ if isinstance(target, type) else target)
    if isinstance(function, functools.partial):
        return _scope(function.func)
    if not hasattr(function, "__globals__"):
        function = type(function).__call__
    return getattr(function, "__globals__", {})


def _annotation(p: inspect.Parameter, scope: dict[str, Any]) -> Any:
    annotation = p.annotation
    if isinstance(annotation, str):
        try:
            alone = types.SimpleNamespace(__annotations__={p.name: annotation})  # an invalid one affects no other
            annotation = typing.get_type_hints(alone, scope, include_extras=True)[p.name]
        except Exception:
            annotation = REQUIRED  # a name that exists only for the type checker
    if annotation in (REQUIRED, Any):
        annotation = str if p.default in (REQUIRED, None) else type(p.default)
    return annotation


def _alternatives(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in _alternatives(part)]
    return [annotation]


def _item(wanted: Any) -> Any:
    """Return the annotation of the items of a `tuple[item, ...]`, or None if it is something else."""
    inner = typing.get_args(wanted)
    return inner[0] if typing.get_origin(wanted) is tuple and inner[1:] == (Ellipsis,) else None


def _span(annotation: Any) -> Range | None:
    if typing.get_origin(annotation) is Annotated:
        return next((m for m in typing.get_args(annotation)[1:] if isinstance(m, Range)), None)
    return next((s for part in typing.get_args(annotation) if (s := _span(part))), None)


def _convert(text: str, wanted: Any) -> Any:
    """Return the value, or None if the text is not of that type."""
    if typing.get_origin(wanted) is Literal:
        return next((choice for choice in typing.get_args(wanted) if plain(choice) == text), None)
    if wanted is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if wanted in (int, float):
        try:
            value = wanted(text)
            return value if math.isfinite(value) else None
        except (ValueError, OverflowError):
            return None
    if (item := _item(wanted)) is not None:
        values = [_convert_any(part.strip(), item) for part in text.split("/")]
        return None if None in values else tuple(values)
    return text if wanted is str else None


def _convert_any(text: str, annotation: Any) -> Any:
    return next((v for wanted in _alternatives(annotation) if (v := _convert(text, wanted)) is not None), None)


def _check_range(name: str, value: Any, span: Range, where: str) -> None:
    if not isinstance(value, int | float):
        return
    if (span.low is not None and value < span.low) or (span.high is not None and value > span.high):
        raise ParamError(f"{name} must be {_range_words(span)}, got {plain(value)} (in {where!r}).")


def _range_words(span: Range) -> str:
    if span.low is not None and span.high is not None:
        return f"between {plain(span.low)} and {plain(span.high)}"
    return f"at least {plain(span.low)}" if span.low is not None else f"at most {plain(span.high)}"


def _name(wanted: Any) -> str:
    return wanted.__name__ if type(wanted) is type else str(wanted)


def _schema_of(annotation: Any) -> dict[str, Any]:
    span = _span(annotation)
    kinds = [_schema_of_kind(wanted, span) for wanted in _alternatives(annotation)]
    entry: dict[str, Any] = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if span and any(wanted in (int, float) for wanted in _alternatives(annotation)):
        entry |= {"minimum": span.low} if span.low is not None else {}
        entry |= {"maximum": span.high} if span.high is not None else {}
    return entry


def _schema_of_kind(wanted: Any, span: Range | None) -> dict[str, Any]:
    if (item := _item(wanted)) is not None:
        return {"type": "array", "items": _schema_of(Annotated[item, span] if span else item), "minItems": 1}
    if typing.get_origin(wanted) is Literal:
        return {"enum": list(typing.get_args(wanted))}
    return {"type": {bool: "boolean", int: "integer", float: "number", type(None): "null"}.get(wanted, "string")}
