"""Losses: what is minimised. Only built-in ones, without a plugin hook; this module has only their records."""

from __future__ import annotations

from esbench.records import LossInfo

_JO = "Jo, Chun and Choi, Rethinking Deep Image Prior for Denoising, ICCV 2021"

INFOS = [
    LossInfo(
        name="mse",
        summary="the mean squared error to the observation, or the task's own distance to it",
        target="esbench.builtin.losses.mse:mse",
        reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018",
        captured=True,
    ),
    LossInfo(
        name="sure",
        summary="Stein's unbiased estimate of the squared error, for Gaussian noise",
        target="esbench.builtin.losses.sure:sure",
        reference="Metzler et al., Unsupervised learning with Stein's unbiased risk estimator, 2018",
        needs=("observation", "sigma"),
        input="observation",
        perturbation=0,
        learning_rate=0.001,
    ),
    LossInfo(
        name="r2r",
        summary="the error between two pictures into which Gaussian noise splits the observation at each step",
        target="esbench.builtin.losses.r2r:r2r",
        reference="Pang, Zheng, Quan and Ji, Recorrupted-to-Recorrupted, CVPR 2021",
        needs=("observation", "sigma"),
        input="observation",
        perturbation=0,
        learning_rate=0.003,
    ),
    LossInfo(
        name="thinning",
        summary="the error between two pictures into which the photons are divided at each step",
        target="esbench.builtin.losses.thinning:thinning",
        reference="Neufeld et al., Data thinning for convolution-closed distributions, JMLR 2024",
        needs=("observation", "gain"),
        input="observation",
        perturbation=0,
        learning_rate=0.003,
    ),
    LossInfo(
        name="masking",
        summary="the error at known values that are hidden from the network, others at each step",
        target="esbench.builtin.losses.masking:masking",
        reference="Batson and Royer, Noise2Self, ICML 2019; Quan et al., Self2Self with dropout, CVPR 2020",
        needs=("masked",),
        input="masked",
        perturbation=0,
        learning_rate=0.003,
    ),
    LossInfo(
        name="df-ste",
        summary="Stein's estimate with more noise added to the input at each step",
        target="esbench.builtin.losses.df_ste:df_ste",
        reference=_JO,
        needs=("observation", "sigma"),
        network="s2s",
        input="observation",
        learning_rate=0.003,
        perturbation=0,
    ),
    LossInfo(
        name="pure",
        summary="the Poisson unbiased estimate of the squared error, for shot noise",
        target="esbench.builtin.losses.pure:pure",
        reference=f"Luisier, Blu and Unser, IEEE TIP 2011; {_JO}",
        needs=("observation", "gain"),
        input="observation",
        perturbation=0,
        learning_rate=0.001,
    ),
    LossInfo(
        name="poisson",
        summary="the negative log-likelihood of shot noise",
        target="esbench.builtin.losses.poisson:poisson",
        reference="Poisson, Recherches sur la probabilité des jugements, 1837",
        needs=("gain",),
        captured=True,
    ),
    LossInfo(
        name="mse-kl",
        summary="the mean squared error plus a divergence between the values of each channel and a Gaussian",
        target="esbench.builtin.losses.mse_kl:mse_kl",
        reference="Barrack, A deep learning approach to JPEG colour restoration without ground truth",
    ),
]
