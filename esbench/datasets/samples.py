"""A small photograph that is always there: the one that comes with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

from esbench import images
from esbench.errors import NameUnknown
from esbench.types import Bytes


class Samples:
    """Head and shoulders of Grace Hopper, 96 x 96.

    Reduced four times by averaging, which also removes the traces of its own JPEG compression.
    """

    def ids(self) -> Sequence[str]:
        """Return the one name."""
        return ["hopper"]

    def load(self, id: str) -> Bytes:
        """Return the picture."""
        import matplotlib
        import numpy as np

        if id != "hopper":
            raise NameUnknown("picture", id, self.ids(), "The data set 'samples' has 'hopper'.")
        photograph = images.read(f"{matplotlib.get_data_path()}/sample_data/grace_hopper.jpg")
        part = photograph[24:408, 64:448].astype(np.float64)
        reduced: Bytes = np.rint(part.reshape(96, 4, 96, 4, 3).mean((1, 3))).astype(np.uint8)
        return reduced
