"""Networks: what parametrises the picture. A kind inside the package, without a hook."""

from __future__ import annotations

from esbench.records import NetworkInfo

INFOS = [
    NetworkInfo(
        name="skip",
        summary="encoder-decoder with skip connections, as in Deep Image Prior",
        target="esbench.builtin.networks.skip:skip",
        reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018",
    ),
]
