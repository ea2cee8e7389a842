"""A small photograph that is always available: the one in matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

from esbench import images
from esbench.errors import NameUnknown
from esbench.pictures import Bytes


class Samples:
    """Grace Hopper's glasses, 96 x 96.

    A part of the photograph at full resolution: a reduced one would have finer details than the photographs
    that lam=auto was calibrated on.
    """

    def ids(self) -> Sequence[str]:
        """Return the name of the picture."""
        return ["hopper"]

    def load(self, id: str) -> Bytes:
        """Return the picture."""
        import matplotlib

        if id != "hopper":
            raise NameUnknown("picture", id, self.ids(), "The dataset 'samples' only has 'hopper'.")
        photograph = images.read(f"{matplotlib.get_data_path()}/sample_data/grace_hopper.jpg")
        return photograph[150:246, 180:276].copy()
