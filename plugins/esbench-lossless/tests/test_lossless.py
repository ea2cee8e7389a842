import bz2
import lzma
import zlib

import numpy as np
import pytest
from esbench.plugins import PluginHost
from esbench.registry import Registry
from esbench.testing import check_criterion

from esbench_lossless.codecs import bzip2, deflate, restored, xz

CODECS = {"zlib": (deflate, zlib.decompress), "bz2": (bzip2, bz2.decompress), "lzma": (xz, lzma.decompress)}
PICTURE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)


@pytest.mark.parametrize("codec", CODECS)
def test_it_is_listed_and_gives_a_criterion_that_is_ours(codec):
    registry = Registry(PluginHost())
    assert registry.get("codec", codec).info.lossless
    assert registry.get("criterion", f"cifs-{codec}").record.distribution == "esbench-lossless"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("filter", ["up", "none"])
@pytest.mark.parametrize("picture", [PICTURE, PICTURE[..., :1], PICTURE[:1, :1]], ids=["colour", "grey", "one pixel"])
def test_decoding_gives_the_picture_back(codec, filter, picture):
    encode, decode = CODECS[codec]
    assert np.array_equal(restored(decode(encode(picture, filter=filter)), picture.shape, filter), picture)


@pytest.mark.parametrize("codec", CODECS)
def test_a_slope_is_short_with_the_filter_and_noise_is_long(codec):
    encode, _ = CODECS[codec]
    slope = (3 * np.arange(64)[:, None, None] + np.zeros((64, 64, 3))).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, slope.shape, np.uint8)
    assert len(encode(slope)) < len(encode(noise)) / 20


def test_its_criterion_passes_the_conformance_kit():
    found = check_criterion("cifs-zlib[lam=1e6]")  # with the fastest codec
    assert [str(finding) for finding in found if finding.status == "failed"] == []
