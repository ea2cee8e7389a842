"""Networks: they parametrise the picture. An internal kind, without a hook."""

from __future__ import annotations

from esbench.records import NetworkInfo

INFOS = [
    NetworkInfo(
        name="skip",
        summary="encoder-decoder with skip connections, as in Deep Image Prior",
        target="esbench.builtin.networks.skip:skip",
        reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018",
    ),
    NetworkInfo(
        name="decoder",
        summary="deep decoder: 1x1 convolutions and up-sampling, too few parameters to learn the noise",
        target="esbench.builtin.networks.decoder:decoder",
        reference="Heckel and Hand, Deep Decoder, ICLR 2019",
        perturbation=0,
        depth="channels",
    ),
    NetworkInfo(
        name="s2s",
        summary="encoder-decoder on the observation itself, smooth: for unbiased risk estimates",
        target="esbench.builtin.networks.s2s:s2s",
        reference="Jo, Chun and Choi, Rethinking Deep Image Prior for Denoising, ICCV 2021, s2s",
        # the authors' 0.1 is for RAdam: Adam starts with larger steps, which from 0.01 on can saturate the sigmoid
        learning_rate=0.003,
        perturbation=0,
        input="observation",
    ),
    NetworkInfo(
        name="unet",
        summary="U-Net with instance normalisation, for large holes",
        target="esbench.builtin.networks.unet:unet",
        reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, their code: models/unet.py",
        learning_rate=0.001,
        perturbation=0,
        depth=1,
    ),
]
