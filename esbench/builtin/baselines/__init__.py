"""Baselines: denoisers that need no stopping. A kind inside the package, without a hook; records only."""

from __future__ import annotations

from esbench.records import BaselineInfo

_SCIKIT = "'esbench[baselines]'"

INFOS = [
    BaselineInfo(
        name="nlm",
        summary="non-local means of scikit-image",
        target="esbench.builtin.baselines.scikit:nlm",
        reference="Buades, Coll and Morel, A non-local algorithm for image denoising, CVPR 2005",
        requires=("skimage",),
        install=_SCIKIT,
    ),
    BaselineInfo(
        name="tv",
        summary="total variation of scikit-image, as smooth as the noise level allows",
        target="esbench.builtin.baselines.scikit:tv",
        reference="Chambolle, An algorithm for total variation minimization and applications, JMIV 2004",
        requires=("skimage",),
        install=_SCIKIT,
    ),
    BaselineInfo(
        name="wavelet",
        summary="wavelet thresholding of scikit-image",
        target="esbench.builtin.baselines.scikit:wavelet",
        reference="Chang, Yu and Vetterli, Adaptive wavelet thresholding (BayesShrink), IEEE TIP 2000",
        requires=("skimage", "pywt"),
        install=_SCIKIT,
    ),
    BaselineInfo(
        name="bm3d",
        summary="BM3D, the package of its authors; its licence allows non-commercial use only",
        target="esbench.builtin.baselines.bm3d:bm3d",
        reference="Makinen, Azzari and Foi, Collaborative filtering of correlated noise, IEEE TIP 2020",
        requires=("bm3d",),
        licence="non-commercial use only (Tampere University)",
    ),
    BaselineInfo(
        name="zs-n2n",
        summary="Zero-Shot Noise2Noise: a small network that learns from two halves of the picture",
        target="esbench.builtin.baselines.zs_n2n:zs_n2n",
        reference="Mansour and Heckel, Zero-Shot Noise2Noise: efficient image denoising without any data, CVPR 2023",
    ),
]
