from __future__ import annotations

import contextlib
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esbench import params
from esbench.errors import ParamError, UsageError
from esbench.params import Param
from esbench.records import Range

if TYPE_CHECKING:
    from pathlib import Path


def component(
    frame: object,
    *,
    quality: Annotated[int, Range(0, 100)] = 95,
    lam: Annotated[float | Literal["auto"], Range(0)] = "auto",
    mode: Literal["fast", "slow"] = "fast",
    exact: bool = False,
    label: str = "none given",
    limit: int | None = None,
    shift: float = 0.0,
    widths: Annotated[int | tuple[int, ...], Range(1)] = 128,
    modes: Literal["near", "far"] | tuple[Literal["near", "far"], ...] = "near",
    steps: tuple[Annotated[float, Range(0)], ...] = (0.5, 1.0),
) -> None: ...


KNOWN = params.parameters(component, skip=1)

QUALITY = Param("quality", Annotated[int, Range(0, 100)], 95)
STEP = Param("step", Annotated[int, Range(0)])


def parse(text: str, known: dict[str, Param] = KNOWN) -> dict[str, Any]:
    return params.decide(text, params.split(text)[1], known)


def one(text: str, annotation: Any, default: Any = params.REQUIRED) -> Any:
    return params.convert(text, Param("p", annotation, default), f"c[p={text}]")


# -- split


@pytest.mark.parametrize(
    ("text", "name", "given"),
    [
        ("wmv", "wmv", {}),
        ("  wmv ", "wmv", {}),
        ("wmv[]", "wmv", {}),
        ("wmv[window=50]", "wmv", {"window": "50"}),
        ("cifs-jpeg[quality=90,lam=2e6]", "cifs-jpeg", {"quality": "90", "lam": "2e6"}),
        ("cifs-jpeg[ quality = 90 , lam = 2e6 ]", "cifs-jpeg", {"quality": "90", "lam": "2e6"}),
        ("cifs-jpeg[quality=90,]", "cifs-jpeg", {"quality": "90"}),
        ("esbench-foo:name[a=1]", "esbench-foo:name", {"a": "1"}),
    ],
)
def test_split_takes_name_and_parameters_apart(text, name, given):
    assert params.split(text) == (name, given)


@pytest.mark.parametrize(
    "text",
    ["[a=1]", "c[", "c[a=1", "c[a=1]x", "c[a]", "c[=1]", "c[a=]", "c[a=1][b=2]", "c[a=b=c]", "c[[a=1]]"],
)
def test_split_says_how_a_component_is_written(text):
    with pytest.raises(UsageError, match=r"is written name\[key=value,key=value\], got "):
        params.split(text)


def test_a_parameter_that_is_given_twice_is_refused():
    with pytest.raises(UsageError, match=r"^a is given twice \(in 'c\[a=1,a=2\]'\)\.$"):
        params.split("c[a=1,a=2]")


@given(st.text("ab,=[] -1", max_size=20))
def test_split_never_raises_anything_but_a_usage_error(text):
    with contextlib.suppress(UsageError):
        name, given = params.split(text)
        rewritten = f"{name}[{','.join(f'{k}={v}' for k, v in given.items())}]" if given else name
        assert params.split(rewritten) == (name, given)


# -- decide


def test_what_is_not_given_has_its_default():
    assert parse("c") == {
        "quality": 95,
        "lam": "auto",
        "mode": "fast",
        "exact": False,
        "label": "none given",
        "limit": None,
        "shift": 0.0,
        "widths": 128,
        "modes": "near",
        "steps": (0.5, 1.0),
    }


def test_what_is_given_has_the_type_of_its_annotation():
    values = parse(
        "c[quality=90,lam=2e6,mode=slow,exact=true,label=x y,limit=3,shift=1,widths=8/16,modes=far/near,steps=2]"
    )
    expected = {
        "quality": 90,
        "lam": 2e6,
        "mode": "slow",
        "exact": True,
        "label": "x y",
        "limit": 3,
        "shift": 1.0,
        "widths": (8, 16),
        "modes": ("far", "near"),
        "steps": (2.0,),
    }
    assert values == expected
    assert {k: type(v) for k, v in values.items()} == {k: type(v) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("c[quality=900]", "quality must be between 0 and 100, got 900 (in 'c[quality=900]')."),
        ("c[quality=-1]", "quality must be between 0 and 100, got -1 (in 'c[quality=-1]')."),
        ("c[quality=9.5]", "quality must be an integer between 0 and 100, got 9.5 (in 'c[quality=9.5]')."),
        ("c[quality=high]", "quality must be an integer between 0 and 100, got high (in 'c[quality=high]')."),
        ("c[lam=-1]", "lam must be at least 0, got -1 (in 'c[lam=-1]')."),
        ("c[lam=none]", "lam must be a number at least 0 or auto, got none (in 'c[lam=none]')."),
        ("c[mode=quick]", "mode must be fast or slow, got quick (in 'c[mode=quick]')."),
        ("c[exact=maybe]", "exact must be true or false, got maybe (in 'c[exact=maybe]')."),
        ("c[limit=1.5]", "limit must be an integer or none, got 1.5 (in 'c[limit=1.5]')."),
        ("c[shift=nan]", "shift must be a number, got nan (in 'c[shift=nan]')."),
        ("c[shift=inf]", "shift must be a number, got inf (in 'c[shift=inf]')."),
        ("c[widths=0]", "widths must be at least 1, got 0 (in 'c[widths=0]')."),
        ("c[widths=8/16/0/4]", "widths must be at least 1, got 0 (in 'c[widths=8/16/0/4]')."),
        ("c[steps=1/-0.5]", "steps must be at least 0, got -0.5 (in 'c[steps=1/-0.5]')."),
        *(
            (
                f"c[widths={text}]",
                "widths must be an integer at least 1 or several with / between them, "
                f"got {text} (in 'c[widths={text}]').",
            )
            for text in ("8/x", "8//16", "8/", "/", "8/1.5", "8;16")
        ),
        (
            "c[modes=near/left]",
            "modes must be near or far or several with / between them, got near/left (in 'c[modes=near/left]').",
        ),
        (
            "c[steps=1/nan]",
            "steps must be one or several with / between them: a number at least 0, got 1/nan (in 'c[steps=1/nan]').",
        ),
        (
            "c[qualty=9]",
            "No parameter 'qualty' (in 'c[qualty=9]'). Did you mean 'quality'? "
            "It has: exact, label, lam, limit, mode, modes, quality, shift, steps, widths.",
        ),
        (
            "c[zzz=9]",
            "No parameter 'zzz' (in 'c[zzz=9]'). "
            "It has: exact, label, lam, limit, mode, modes, quality, shift, steps, widths.",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(ParamError) as error:
        parse(text)
    assert str(error.value) == sentence


def test_a_component_without_parameters_says_so():
    with pytest.raises(ParamError, match=r"No parameter 'a' \(in 'c\[a=1\]'\)\. It has: none\.$"):
        parse("c[a=1]", {})


def test_a_parameter_without_default_must_be_given():
    with pytest.raises(ParamError) as error:
        parse("fixed", {"step": STEP})
    assert str(error.value) == "step must be given, as in 'fixed[step=...]' (in 'fixed')."
    assert parse("fixed[step=7]", {"step": STEP}) == {"step": 7}


def test_a_number_beyond_every_float_is_refused_like_any_other():
    with pytest.raises(ParamError, match="quality must be"):
        parse(f"c[quality={'9' * 400}]")
    with pytest.raises(ParamError, match="limit must be"):
        parse(f"c[limit={'9' * 5000}]")


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("TRUE", bool, True),
        ("0", bool, False),
        ("None", int | None, None),
        ("2", Literal[1, 2], 2),
        ("3", Annotated[int, Range(1)] | None, 3),
        ("-5", Annotated[float, Range(high=0)], -5.0),
        ("a_b", str, "a_b"),
    ],
)
def test_convert(text, annotation, value):
    converted = one(text, annotation)
    assert converted == value
    assert type(converted) is type(value)


def test_the_range_of_a_part_of_a_union_holds():
    with pytest.raises(ParamError, match="p must be at least 1, got 0"):
        one("0", Annotated[int, Range(1)] | None)


def test_a_parameter_of_a_type_that_has_no_text_says_so():
    def criterion(frame: object, *, net: list[int] = [1]) -> None: ...  # noqa: B006

    with pytest.raises(ParamError) as error:
        parse("c[net=1]", params.parameters(criterion, 1))
    assert str(error.value) == "net must be list[int], which cannot be written as text, got 1 (in 'c[net=1]')."


# -- canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("c", "c"),
        ("c[]", "c"),
        ("c[quality=95]", "c"),
        ("c[quality=90,lam=2e6]", "c[lam=2000000,quality=90]"),
        ("c[lam=2000000.0,quality=90]", "c[lam=2000000,quality=90]"),
        ("c[lam=0.5]", "c[lam=0.5]"),
        ("c[lam=1e-7]", "c[lam=1e-07]"),
        ("c[exact=1]", "c[exact=true]"),
        ("c[limit=none]", "c"),
        ("c[shift=-0.0]", "c"),
    ],
)
def test_the_canonical_text_has_sorted_keys_and_leaves_defaults_out(text, canonical):
    assert params.canonical("c", parse(text), KNOWN) == canonical


plain_text = st.text("abc XYZ019_-.:/", min_size=1, max_size=10).map(str.strip).filter(bool)
given_texts = st.fixed_dictionaries(
    {},
    optional={
        "quality": st.integers(0, 100).map(str),
        "lam": st.one_of(st.just("auto"), st.floats(0, allow_infinity=False).map(repr)),
        "mode": st.sampled_from(["fast", "slow"]),
        "exact": st.sampled_from(["true", "false", "1", "0"]),
        "label": plain_text,
        "limit": st.one_of(st.just("none"), st.integers().map(str)),
        "shift": st.floats(allow_nan=False, allow_infinity=False).map(repr),
        "widths": st.lists(st.integers(1), min_size=1).map(lambda items: "/".join(map(str, items))),
        "modes": st.lists(st.sampled_from(["near", "far"]), min_size=1).map(" / ".join),
        "steps": st.lists(st.floats(0, allow_infinity=False), min_size=1).map(lambda xs: "/".join(map(repr, xs))),
    },
)


@given(given_texts)
def test_the_canonical_text_parses_to_the_same_values_and_to_itself(given):
    values = params.decide("c", given, KNOWN)
    text = params.canonical("c", values, KNOWN)
    again = parse(text)
    assert again == values
    assert {k: type(v) for k, v in again.items()} == {k: type(v) for k, v in values.items()}
    assert params.canonical("c", again, KNOWN) == text


@given(st.permutations(["quality=90", "lam=5", "mode=slow"]))
def test_the_order_in_which_parameters_are_given_does_not_matter(items):
    values = parse(f"c[{','.join(items)}]")
    assert params.canonical("c", values, KNOWN) == "c[lam=5,mode=slow,quality=90]"


# -- schema and describe


def test_the_schema_says_types_ranges_defaults_and_what_is_required():
    assert params.schema({**KNOWN, "step": STEP}) == {
        "type": "object",
        "properties": {
            "quality": {"type": "integer", "minimum": 0, "maximum": 100, "default": 95},
            "lam": {"anyOf": [{"type": "number"}, {"enum": ["auto"]}], "minimum": 0, "default": "auto"},
            "mode": {"enum": ["fast", "slow"], "default": "fast"},
            "exact": {"type": "boolean", "default": False},
            "label": {"type": "string", "default": "none given"},
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "shift": {"type": "number", "default": 0.0},
            "widths": {
                "anyOf": [
                    {"type": "integer"},
                    {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1},
                ],
                "minimum": 1,
                "default": 128,
            },
            "modes": {
                "anyOf": [
                    {"enum": ["near", "far"]},
                    {"type": "array", "items": {"enum": ["near", "far"]}, "minItems": 1},
                ],
                "default": "near",
            },
            "steps": {
                "type": "array",
                "items": {"type": "number", "minimum": 0},
                "minItems": 1,
                "default": [0.5, 1.0],
            },
            "step": {"type": "integer", "minimum": 0},
        },
        "additionalProperties": False,
        "required": ["step"],
    }


def test_the_schema_of_nothing_is_an_empty_object():
    assert params.schema({}) == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "an integer"),
        (float, "a number"),
        (bool, "true or false"),
        (str, "text"),
        (int | None, "an integer or none"),
        (Literal["a", "b"], "a or b"),
        (Annotated[int, Range(0, 100)], "an integer between 0 and 100"),
        (Annotated[float, Range(low=0.5)], "a number at least 0.5"),
        (Annotated[int, Range(1)] | None, "an integer at least 1 or none"),
        (Annotated[float, Range(high=2e6)], "a number at most 2000000"),
        (int | tuple[int, ...], "an integer or several with / between them"),
        (tuple[int, ...], "one or several with / between them: an integer"),
        (tuple[int, int], "tuple[int, int], which cannot be written as text"),
    ],
)
def test_describe_says_in_words_what_fits(annotation, words):
    assert params.describe(annotation) == words


# -- parameters of a target


def test_the_leading_arguments_are_not_parameters():
    def encode(image: object, level: int = 1) -> bytes: ...

    assert set(params.parameters(encode, 1)) == {"level"}


def test_catch_all_arguments_are_not_parameters():
    def criterion(frame: object, *args: int, **options: int) -> float: ...

    assert params.parameters(criterion, 1) == {}


def test_a_class_has_the_parameters_of_its_constructor():
    class Memory:
        def __init__(self, *, window: Annotated[int, Range(2)] = 100) -> None: ...

    class Bare:
        pass

    window = Param("window", Annotated[int, Range(2)], 100)
    assert params.parameters(Memory, 0) == {"window": window}
    assert params.parameters(Bare, 0) == {}


@dataclass
class Data:
    window: Annotated[int, Range(2)] = 100


class Instance:
    def __call__(self, frame: object, *, window: Annotated[int, Range(2)] = 100) -> float: ...


def plain_function(frame: object, *, window: Annotated[int, Range(2)] = 100) -> float: ...


def decorated() -> Any:
    # as by torch.no_grad(): the wrapper lives in a module that does not know the names of the annotations
    scope: dict[str, Any] = {"functools": functools}
    exec(
        "def no_grad(f):\n"
        "    @functools.wraps(f)\n"
        "    def wrapper(*a, **k):\n"
        "        return f(*a, **k)\n"
        "    return wrapper",
        scope,
    )
    return scope["no_grad"](plain_function)


@pytest.mark.parametrize(
    ("target", "skip"),
    [
        (plain_function, 1),
        (decorated(), 1),
        (functools.partial(plain_function), 1),
        (Instance(), 1),
        (Data, 0),
    ],
    ids=["function", "decorated", "partial", "callable object", "dataclass"],
)
def test_annotations_are_read_where_they_were_written(target, skip):
    assert params.parameters(target, skip) == {"window": Param("window", Annotated[int, Range(2)], 100)}


def test_an_annotation_that_says_nothing_leaves_the_type_of_the_default():
    def criterion(frame: object, *, size: Any = 3, name: Any = None, untyped=0.5) -> None: ...

    found = params.parameters(criterion, 1)
    assert {name: p.annotation for name, p in found.items()} == {"size": int, "name": str, "untyped": float}


def test_an_annotation_for_the_type_checker_alone_leaves_the_type_of_the_default():
    def criterion(frame: object, *, where: Path = "here", size: Path = 3, needed: Path, no: Path | None = None): ...

    found = params.parameters(criterion, 1)
    assert {name: p.annotation for name, p in found.items()} == {"where": str, "size": int, "needed": str, "no": str}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_text_is_that_number(value):
    assert float(params.plain(value)) == value


def test_plain_writes_what_people_write():
    assert [params.plain(v) for v in (2e6, 0.5, True, None, 7, "x", math.pi)] == [
        "2000000",
        "0.5",
        "true",
        "none",
        "7",
        "x",
        str(math.pi),
    ]
    assert params.plain((8, 0.5, 2e6, "x")) == "8/0.5/2000000/x"
