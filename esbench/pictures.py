"""Pictures in three views: a tensor on the device, float and 8-bit arrays; each is made on first use.

torch and NumPy are imported only then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Kind = TypeVar("Kind", bound=np.generic)
    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Floats: TypeAlias = npt.NDArray[np.float32]
    Bools: TypeAlias = npt.NDArray[np.bool_]
else:
    Bytes = Floats = Bools = Any  # so that they can be named without importing numpy


def is_grey(picture: npt.NDArray[Any]) -> bool:
    """Whether all channels of a picture (H, W, C) are equal."""
    return bool((picture == picture[..., :1]).all())


class Pictures:
    """Pictures of one size in three views, each made once, on first use.

    Args:
        source: (B, C, H, W) float tensor, or (B, H, W, C) uint8 or float array; floats are in [0, 1].
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._is_tensor = hasattr(source, "detach")

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Picture:
        return Picture(self, range(len(self))[index])

    @cached_property
    def tensor(self) -> torch.Tensor:
        """(B, C, H, W), the output of the network, on its device."""
        import torch

        if self._is_tensor:
            return self._source.detach()  # type: ignore[no-any-return]
        array = self._source
        if array.dtype.kind == "u":
            array = array.astype("float32") / 255
        elif not array.flags.writeable:  # torch has no read-only tensors
            array = array.copy()
        return torch.from_numpy(array).movedim(-1, 1).contiguous()

    @cached_property
    def float(self) -> Floats:
        """(B, H, W, C) float32 in [0, 1]; read-only."""
        import numpy as np

        if self._is_tensor:
            array = self.tensor.float().movedim(1, -1).cpu().numpy().clip(0, 1)
        elif self._source.dtype.kind == "u":
            array = self._source.astype(np.float32) / 255
        else:
            array = self._source.astype(np.float32).clip(0, 1)
        return _frozen(array)

    @cached_property
    def uint8(self) -> Bytes:
        """(B, H, W, C) uint8, clipped and rounded half to even; read-only."""
        import numpy as np

        if self._is_tensor:
            import torch

            # round on the device: a quarter of the bytes to copy
            eight = (self.tensor.float().clamp(0, 1) * 255).round().to(torch.uint8)
            return _frozen(eight.movedim(1, -1).contiguous().cpu().numpy())
        if self._source.dtype.kind == "u":
            return _frozen(self._source.view())
        return _frozen(np.rint(self.float * np.float32(255)).astype(np.uint8))

    @cached_property
    def finite(self) -> Sequence[bool]:
        """For each picture, whether it has no NaN and no infinite value."""
        # a sum is not finite if one of its terms is not, and is ten times faster than checking each value
        if self._is_tensor:
            import torch

            wide = torch.promote_types(self.tensor.dtype, torch.float32)  # a sum in 16 bits overflows
            return self.tensor.flatten(1).sum(1, dtype=wide).isfinite().tolist()
        import numpy as np

        with np.errstate(invalid="ignore"):
            return np.isfinite(self._source.sum((1, 2, 3), dtype=np.float64)).tolist()  # type: ignore[no-any-return]


class Guarded(Pictures):
    """Pictures for third-party code: the read-only arrays are shared, the tensor is a copy.

    Args:
        own: the pictures to share.
    """

    def __init__(self, own: Pictures) -> None:
        super().__init__(own._source)
        self._own = own

    @cached_property
    def tensor(self) -> torch.Tensor:
        """(B, C, H, W), a copy."""
        return self._own.tensor.clone()

    @property
    def float(self) -> Floats:
        """(B, H, W, C) float32 in [0, 1]; read-only."""
        return self._own.float

    @property
    def uint8(self) -> Bytes:
        """(B, H, W, C) uint8, clipped and rounded half to even; read-only."""
        return self._own.uint8

    @property
    def finite(self) -> Sequence[bool]:
        """For each picture, whether it has no NaN and no infinite value."""
        return self._own.finite


class Picture:
    """One picture in three views."""

    def __init__(self, pictures: Pictures, index: int = 0) -> None:
        self._pictures, self._index = pictures, index

    @property
    def tensor(self) -> torch.Tensor:
        """(C, H, W), the output of the network, on its device; do not write to it."""
        return self._pictures.tensor[self._index]

    @property
    def float(self) -> Floats:
        """(H, W, C) float32 in [0, 1]; read-only."""
        picture: Floats = self._pictures.float[self._index]
        return picture

    @property
    def uint8(self) -> Bytes:
        """(H, W, C) uint8, clipped and rounded half to even; read-only."""
        picture: Bytes = self._pictures.uint8[self._index]
        return picture

    @property
    def finite(self) -> bool:
        """Whether it has no NaN and no infinite value."""
        return self._pictures.finite[self._index]

    def guarded(self) -> Picture:
        """Return the same picture for third-party code, which may write to its tensor without affecting others."""
        return Guarded(self._pictures)[self._index]

    def copy(self) -> Floats:
        """Return a copy (H, W, C) float32 in [0, 1]; a view would keep its whole block in memory."""
        if self._pictures._is_tensor:
            own: Floats = Pictures(self.tensor[None]).float[0]
            return own
        return self.float.copy()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        source = self._pictures._source
        return tuple(source.shape[2:]) if self._pictures._is_tensor else tuple(source.shape[1:3])


def _frozen(array: npt.NDArray[Kind]) -> npt.NDArray[Kind]:
    array.flags.writeable = False
    return array.view()  # setflags(write=True) works on an array that owns its memory, not on a view of it
