"""JPEG: the observation is a compressed picture; the quantisation intervals of its coefficients are known."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from esbench import images
from esbench.builtin.tasks.jpeg_file import Coefficients, Plane, read
from esbench.errors import UsageError
from esbench.kinds import AddNoise, Companions, Task
from esbench.metrics import psnr
from esbench.noise import unexplained
from esbench.observation import Observation
from esbench.pictures import Floats, Pictures
from esbench.records import Range

if TYPE_CHECKING:
    import torch

Matrix = npt.NDArray[np.float64]

#: RGB to Y, Cb and Cr of BT.601 in full range, without the offsets of 128 levels.
YCC: Matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])

#: The orthonormal DCT-II of eight values.
DCT: Matrix = np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(8) + 1) / 16) / 2
DCT[0] /= np.sqrt(2)

#: The EXIF orientations that are not their own inverse.
TURNED_BACK = {6: 8, 8: 6}

#: Variance of rounding to 8 bits on the scale [0, 1]: the lower bound of a distance.
ROUNDING = 1 / 12 / 255**2

#: Margin in grey levels (at most a quarter of the interval) between projected coefficients and the ends of their
#: intervals, so that rounding the pixels to 8 bits (standard deviation 0.29) does not move them out again.
INSIDE = 1.0

#: Projections into the intervals, each followed by clipping to [0, 1].
PROJECTIONS = 10


class Jpeg(Task):
    """min over theta of the mean of (x - y)^2, or of the distance of x to the pictures that compress to the same file.

    Args:
        quality: the quality of the benchmark's JPEG.
        subsampling: its chroma subsampling.
        fit: `pixels`, the mean squared error to the decoded JPEG, or `interval`, the distance of x to all pictures that
            are compressed to the same coefficients.
    """

    grid = 32  # whole blocks of colour components that are subsampled by up to four
    takes_grey = False  # its coefficients have channels

    def __init__(
        self,
        *,
        quality: Annotated[int, Range(1, 100)] = 10,
        subsampling: Literal[420, 422, 444] = 420,
        fit: Literal["pixels", "interval"] = "pixels",
    ) -> None:
        super().__init__()
        self.quality, self.subsampling, self.fit = quality, subsampling, fit
        self._intervals: dict[Any, tuple[Any, list[Interval]]] = {}

    def degrade(self, clean: Floats, rng: np.random.Generator, noise: AddNoise, companions: Companions) -> Observation:
        """Return the picture with noise after rounding to 8 bits and compression, and its coefficients."""
        from PIL import Image

        eight = Pictures(noise(clean)[None]).uint8[0]
        file = io.BytesIO()
        images.pillow(eight).save(file, "JPEG", quality=self.quality, subsampling=":".join(str(self.subsampling)))
        with Image.open(file) as image:
            y = np.asarray(image, np.float32).reshape(clean.shape) / np.float32(255)
        return self.observe(y, file=file.getvalue())

    def observe(self, y: Floats, *, mask: Any = None, guide: Any = None, file: bytes | None = None) -> Observation:
        """Return a decoded JPEG in its stored orientation, and its coefficients.

        Args:
            y: its pixels, upright.
            mask: None.
            guide: None.
            file: the file.

        Raises:
            UsageError: the file is missing or is not a JPEG of these pixels.
            DataError: its coefficients cannot be read.
        """
        self.takes_no(mask=mask, guide=guide)
        if file is None:
            raise UsageError("The task 'jpeg' needs the JPEG file itself, for its quantisation tables: give its path.")
        if file[:2] != b"\xff\xd8":
            raise UsageError("The task 'jpeg' needs a JPEG file, got a file of another format.")
        held, orientation = read(file), _orientation(file)
        stored = images.UPRIGHT.get(TURNED_BACK.get(orientation, orientation), np.asarray)(y)
        if stored.shape != (held.height, held.width, len(held.planes)):
            raise UsageError(
                f"The pixels must have the size of the JPEG file, {held.width} x {held.height}: give its path."
            )
        return Observation(np.ascontiguousarray(stored), extra={"jpeg": held, "orientation": orientation})

    def window(self, observation: Observation, rows: slice, columns: slice) -> Observation:
        """Return a part that starts at a block."""
        part = coefficients(observation).window(rows, columns)
        return dataclasses.replace(observation.window(rows, columns), extra={**observation.extra, "jpeg": part})

    def distance(self, x: torch.Tensor, observation: Observation) -> torch.Tensor:
        """Return the squared distance of a picture to the intervals, a mean over pixels and channels.

        A coefficient of a component that is subsampled by v x h has the weight v h, the number of pixels it represents.

        Raises:
            UsageError: pixels are held out.
        """
        if self.fit == "pixels":
            return super().distance(x, observation)
        if observation.holdout is not None:
            raise UsageError(
                "jpeg[fit=interval] cannot hold out pixels, as its coefficients depend on all of them: use fit=pixels."
            )
        to_ycc, intervals = self._fitted(x, observation)
        total = x.new_zeros(())
        planes = (to_ycc @ x[0].flatten(1)).reshape(x.shape[1:])
        for plane, interval in zip(planes, intervals, strict=True):
            total = total + interval.area * interval.outside(interval.analysed(plane)).square().sum()
        return total / (x.shape[1] * coefficients(observation).height * coefficients(observation).width) + ROUNDING

    def outside(self, x: torch.Tensor, observation: Observation) -> float:
        """Return the share of the intervals without 0 that the coefficients of a picture are outside of.

        Intervals around 0 say little: a picture without any detail is inside of them.
        """
        to_ycc, intervals = self._fitted(x, observation)
        planes = (to_ycc @ x[0].flatten(1)).reshape(x.shape[1:])
        found = total = 0
        for plane, each in zip(planes, intervals, strict=True):
            telling = (each.low > 0) | (each.high < 0)
            found += int((telling & (each.outside(each.analysed(plane)) > 0)).sum())
            total += int(telling.sum())
        return found / total

    def score(self, x: Floats, clean: Floats, observation: Observation) -> float:
        """Return the mean PSNR of Cb and Cr; of a grey picture its PSNR."""
        if clean.shape[2] == 1:
            return psnr(x, clean)
        planes = zip((x.clip(0, 1) @ YCC[1:].T).T, (clean @ YCC[1:].T).T, strict=True)
        return float(np.mean([psnr(a + 0.5, b + 0.5) for a, b in planes]))

    def lacking(self, x: Floats, observation: Observation) -> float:
        """Return the share of the distance to the middles of the intervals without 0 that rounding does not explain.

        In steps of the quantisation, rounding has the variance 1/12. The file itself is at the middles.
        """
        held, away = coefficients(observation), []
        planes = np.tensordot(_matrix(x.shape[2]), 255 * x.astype(np.float64).clip(0, 1), (1, 2))
        for own, plane in zip(planes, held.planes, strict=True):
            (n, m), (v, h) = plane.levels.shape, plane.reduced
            found = analysis(n, held.height, x.shape[0], v) @ own @ analysis(m, held.width, x.shape[1], h).T
            middle = sum(bounds(plane, luma=plane is held.planes[0])) / 2
            away.append(((found - middle) / plane.steps)[plane.levels != 0])
        return unexplained(np.concatenate(away), 1 / 12) if sum(map(len, away)) else 0.0

    def finish(self, x: Floats, observation: Observation) -> Floats:
        """Return the output projected into the intervals: compressing it again gives the file, except for rounding."""
        held = coefficients(observation)
        matrix = _matrix(x.shape[2])
        corrections = [Correction(plane, held, *x.shape[:2], luma=plane is held.planes[0]) for plane in held.planes]
        for _ in range(PROJECTIONS):
            planes = np.tensordot(matrix, 255 * x.astype(np.float64).clip(0, 1), (1, 2))
            planes += [correction(plane) for correction, plane in zip(corrections, planes, strict=True)]
            x = (np.tensordot(planes, np.linalg.inv(matrix), (0, 1)) / 255).astype(np.float32)
        return x.clip(0, 1)

    def upright(self, picture: Floats, observation: Observation) -> Floats:
        """Return a picture with the file's EXIF orientation applied."""
        turned: Floats = images.UPRIGHT.get(observation.extra["orientation"], np.asarray)(picture)
        return turned

    def _fitted(self, x: torch.Tensor, observation: Observation) -> tuple[torch.Tensor, list[Interval]]:
        """Return the colour matrix and the intervals as tensors on the device of a picture; cached per observation."""
        held = coefficients(observation)
        key = id(held), x.shape, x.device, x.dtype
        if key not in self._intervals:
            import torch

            def tensor(array: Any) -> torch.Tensor:
                return torch.from_numpy(np.ascontiguousarray(array)).to(x)

            intervals = []
            for plane in held.planes:
                low, high = (p / 255 for p in bounds(plane, luma=plane is held.planes[0]))
                v, h = plane.reduced
                down = tensor(analysis(plane.levels.shape[0], held.height, x.shape[2], v))
                across = tensor(analysis(plane.levels.shape[1], held.width, x.shape[3], h))
                intervals.append(Interval(down, across, tensor(low), tensor(high), v * h))
            self._intervals = {key: (tensor(_matrix(x.shape[1])), intervals)}
        return self._intervals[key]


@dataclass(frozen=True)
class Interval:
    """The quantisation intervals of a component's coefficients.

    Attributes:
        down: the matrix from the rows of a picture to those of the coefficients.
        across: the same for columns.
        low: the lower ends of the intervals.
        high: the upper ends.
        area: the number of pixels that a value of the component represents.
    """

    down: torch.Tensor
    across: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    area: int

    def analysed(self, plane: torch.Tensor) -> torch.Tensor:
        """Return the coefficients of a component of a picture (H, W)."""
        return self.down @ plane @ self.across.mT

    def outside(self, c: torch.Tensor) -> torch.Tensor:
        """Return how far coefficients are outside of their intervals."""
        return (self.low - c).relu() + (c - self.high).relu()


def coefficients(observation: Observation) -> Coefficients:
    """Return the coefficients in the file of an observation."""
    held: Coefficients = observation.extra["jpeg"]
    return held


def bounds(plane: Plane, *, luma: bool) -> tuple[Matrix, Matrix]:
    """Return the ends of the intervals of a component's coefficients, in grey levels, with the offset of luma added."""
    steps = plane.steps
    centre = (plane.levels * steps).astype(np.float64)
    if luma:
        centre[::8, ::8] += 8 * 128  # a constant v has the one coefficient 8 v
    return centre - steps / 2, centre + steps / 2


def analysis(n: int, size: int, full: int, reduced: int) -> Matrix:
    """Return the matrix (n, full) from one axis of a picture to its coefficients: subsampling by means, then the DCT.

    Args:
        n: the number of coefficients, of whole blocks.
        size: the length of the compressed picture, whose last value is repeated to whole blocks.
        full: the length of the picture that it is applied to; values beyond `size` are ignored.
        reduced: the subsampling factor of the component.
    """
    means = np.zeros((n, full))
    places = np.arange(n)[:, None] * reduced + np.arange(reduced)
    np.add.at(means, (np.arange(n)[:, None], places.clip(0, size - 1)), 1 / reduced)
    transformed: Matrix = np.einsum("ks,bsx->bkx", DCT, means.reshape(-1, 8, full)).reshape(n, full)
    return transformed


class Correction:
    """The correction that moves the coefficients of a component just inside their intervals.

    Args:
        plane: the component.
        held: the coefficients in the file.
        h: the height of the pictures.
        w: the width of the pictures.
        luma: whether it is the luma.
    """

    def __init__(self, plane: Plane, held: Coefficients, h: int, w: int, *, luma: bool) -> None:
        low, high = bounds(plane, luma=luma)
        margin = np.minimum(INSIDE, plane.steps / 4)
        self._low, self._high = low + margin, high - margin
        self._down = analysis(low.shape[0], held.height, h, plane.reduced[0])
        self._across = analysis(low.shape[1], held.width, w, plane.reduced[1])
        self._up, self._back = np.linalg.pinv(self._down), np.linalg.pinv(self._across)

    def __call__(self, plane: Matrix) -> Matrix:
        """Return the smallest change of a component (H, W), in grey levels, with this effect."""
        c = self._down @ plane @ self._across.T
        change: Matrix = self._up @ (c.clip(self._low, self._high) - c) @ self._back.T
        return change


def _matrix(channels: int) -> Matrix:
    return YCC if channels == 3 else np.eye(1)


def _orientation(file: bytes) -> int:
    from PIL import Image

    with Image.open(io.BytesIO(file)) as image:
        return int(image.getexif().get(images.ORIENTATION, 1))
