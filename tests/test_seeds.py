from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esbench.seeds import derive

names = st.lists(st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.none()), max_size=4)


@given(st.integers(0, 2**63 - 1), names)
def test_a_seed_fits_every_generator(base, names):
    assert 0 <= derive(base, *names) < 2**63


@pytest.mark.parametrize(
    ("base", "names", "seed"),
    [
        # SHA-256 of the JSON text [base,"name",...], its first 8 bytes as a big-endian number, halved:
        # printf '[0]' | sha256sum | cut -c1-16
        (0, (), 7520536977032167579),
        (0, ("noise", "kodim01"), 8023653440028388834),
        (1, ("noise", "kodim01"), 134555502353560832),
    ],
)
def test_a_seed_never_changes(base, names, seed):
    assert derive(base, *names) == seed


@given(st.integers(0, 9), names, st.integers(0, 9), names)
def test_other_names_or_another_base_give_another_seed(base, these, other_base, those):
    same = (base, repr(these)) == (other_base, repr(those))
    assert (derive(base, *these) == derive(other_base, *those)) is same


def test_names_are_not_run_together():
    assert derive(0, "ab", "c") != derive(0, "a", "bc") != derive(0, "abc")


def test_the_order_of_the_names_counts():
    assert derive(0, "noise", "kodim01") != derive(0, "kodim01", "noise")


def test_a_name_that_has_no_lasting_text_is_refused():
    with pytest.raises(TypeError):
        derive(0, object())
