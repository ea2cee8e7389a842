"""Networks: what parametrises the picture. A kind inside the package, without a hook."""

from __future__ import annotations

from esbench.types import Info

INFOS = [
    Info(
        name="skip",
        summary="encoder-decoder with skip connections, as in Deep Image Prior",
        target="esbench.networks.skip:skip",
        reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018",
    ),
]
