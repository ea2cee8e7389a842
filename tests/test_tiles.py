from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from esbench.restoration.tiles import spans, tiles


@st.composite
def cuts(draw) -> tuple[int, int, int]:
    """A length, the longest piece and the least overlap, of which a piece holds two."""
    overlap = draw(st.integers(0, 40))
    return draw(st.integers(1, 1500)), draw(st.integers(2 * overlap + 1, 300)), overlap


@given(cuts())
def test_windows_sum_to_one_at_every_place(cut):
    length, side, overlap = cut
    total = np.zeros(length)
    for span in spans(length, side, overlap):
        assert (span.window > 0).all()
        total[span.slice] += span.window
    assert np.abs(total - 1).max() < 1e-6


@given(cuts())
def test_pieces_are_equal_and_neighbours_overlap(cut):
    length, side, overlap = cut
    found = spans(length, side, overlap)
    assert {len(span.window) for span in found} == {min(side, length)}
    for a, b in itertools.pairwise(found):
        assert a.slice.stop - b.start >= overlap
    assert (len(found) == 1) == (length <= side)


@given(cuts())
@example((513, 512, 48))  # two pieces that hardly differ
def test_a_window_fades_slowly_so_that_no_step_is_seen_where_tiles_differ(cut):
    length, side, overlap = cut
    slowly = 2 / (overlap + 1) + 1e-6  # twice the slope of the ramp: three tiles may meet
    for span in spans(length, side, overlap):
        assert np.abs(np.diff(span.window)).max(initial=0) <= slowly
        assert span.start == 0 or span.window[0] <= slowly
        assert span.slice.stop == length or span.window[-1] <= slowly


@given(st.integers(1, 90), st.integers(1, 90), st.integers(21, 60), st.integers(0, 10))
def test_what_all_tiles_agree_on_is_kept(h, w, side, overlap):
    y, x = np.mgrid[:h, :w]
    for picture in (np.full((h, w, 1), 0.7), (0.2 + (0.3 * y + 0.5 * x) / 90)[..., None]):
        laid = np.zeros_like(picture)
        for tile in tiles(h, w, side, overlap):
            tile.of(laid)[...] += tile.window * tile.of(picture)
        assert np.abs(laid - picture).max() < 1e-6


def test_a_tile_is_a_view_of_its_part():
    picture = np.arange(5 * 7).reshape(5, 7, 1)
    found = tiles(5, 7, 4, 1)
    assert [(t.rows.start, t.columns.start) for t in found] == [(0, 0), (0, 3), (1, 0), (1, 3)]
    assert np.array_equal(found[3].of(picture), picture[1:5, 3:7])
    assert np.shares_memory(found[3].of(picture), picture)


@pytest.mark.parametrize(("length", "n"), [(512, 1), (513, 2), (976, 2), (977, 3), (4000, 9)])
def test_there_are_no_more_pieces_than_it_takes(length, n):
    assert len(spans(length, 512, 48)) == n
