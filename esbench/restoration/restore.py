"""Restore a picture from Python, in one call."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from esbench import device as devices
from esbench import images
from esbench.restoration.options import Options
from esbench.restoration.whole import Restoration, Restored


def denoise(
    noisy: Any,
    criterion: str | None = None,
    *,
    sigma: float | None = None,
    quality: str | None = None,
    minutes: float | None = None,
    network: str | None = None,
    loss: str | None = None,
    regulariser: str | None = None,
    input: str | None = None,
    input_scale: float | None = None,
    learning_rate: float | None = None,
    depth: int | None = None,
    perturbation: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    seed: int = 0,
    iterations: int | None = None,
    patience: int | None = None,
) -> Restored:
    """Denoise a picture with a Deep Image Prior that stops automatically.

    Args:
        noisy: NumPy or torch, (H, W), (H, W, C), (C, H, W) or (1, C, H, W) with C of 1 or 3; uint8, uint16 or float in
            [0, 1]. Or the path of a file.
        criterion: the criterion to stop by: `name` or `name[key=value]` (see `esbench list-criteria`); None for none
            if the loss knows the noise, else `discrepancy`.
        sigma: the noise level on the 0-255 scale; None to estimate it from the picture.
        quality: `draft`, few steps; `fast`, one optimisation, the default; or `best`, the average of up to four.
        minutes: the time in which to deliver the best result; it decides quality, steps and number of optimisations.
        network: the network that parametrises the picture; None for the loss's default, or 'skip[channels=32]'.
        loss: the loss to minimise (see `esbench list losses`); None for `r2r` if the noise is Gaussian, or shared by
            pixels or channels, `thinning` if it is white shot noise, and else, or if a criterion, a network or an input
            is given, `mse`. Impulses are filled in, unless one of these or the level is given.
        regulariser: a term added to the loss; None for nothing.
        input: the input of the network; None for the loss's or network's default.
        input_scale: the noise input is uniform in [0, input_scale]; None for the quality's, 0.1 or, of a draft, 1.
        learning_rate: the learning rate of Adam; None for the loss's or network's default.
        depth: channels of the network's input; None for the network's default.
        perturbation: noise added to the input at each step; None for the loss's or network's default.
        device: auto, cpu, cuda or cuda:N.
        threads: the number of threads on a CPU; None for PyTorch's default.
        precision: float32, bfloat16, or auto: bfloat16 on a CPU with units for it, else float32.
        seed: the seed of the network's weights, its input and the perturbations.
        iterations: T, the maximum number of steps; None for one that suits the noise level, 430 at sigma 25, of
            impulses for 800, or, with the loss `mse`, for 2400 and more for over 128 x 128 pixels.
        patience: S, the number of steps without a lower value after which to stop; None for 100.

    Returns:
        The picture as `image`, of the type of `noisy`, and why it stopped there.

    Raises:
        UsageError: `noisy` is not a picture, or a name or a number is invalid.

    Example:
        ```python
        import esbench
        import numpy as np

        rng = np.random.default_rng(0)
        noisy = 0.5 + 0.1 * rng.standard_normal((40, 48))
        denoised = esbench.denoise(noisy, network="skip[channels=8,scales=2]", iterations=60, patience=20)
        print(denoised.image.shape, denoised.reason)
        ```
    """
    options = Options(
        criterion=criterion,
        sigma=sigma,
        quality=quality,
        minutes=minutes,
        network=network,
        loss=loss,
        regulariser=regulariser,
        input=input,
        input_scale=input_scale,
        learning_rate=learning_rate,
        depth=depth,
        perturbation=perturbation,
        device=device,
        threads=threads,
        precision=precision,
        seed=seed,
        iterations=iterations,
        patience=patience,
    )
    return _to_the_end(Restoration(noisy, options, name="noisy"))


def restore(
    observation: Any,
    task: str = "denoise",
    *,
    mask: Any = None,
    guide: Any = None,
    criterion: str | None = None,
    sigma: float | None = None,
    quality: str | None = None,
    minutes: float | None = None,
    network: str | None = None,
    loss: str | None = None,
    regulariser: str | None = None,
    input: str | None = None,
    input_scale: float | None = None,
    learning_rate: float | None = None,
    depth: int | None = None,
    perturbation: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    seed: int = 0,
    iterations: int | None = None,
    patience: int | None = None,
) -> Restored:
    """Restore a picture from an observation with a Deep Image Prior that stops automatically.

    Args:
        observation: an array as for `denoise`, or the path of a PNG, JPEG, TIFF or WebP file (`jpeg` needs a file).
        task: the task that made the observation: `name` or `name[key=value]` (see `esbench list tasks`).
        mask: (H, W), above half where a pixel is missing, for a task with a mask.
        guide: the guide picture, an array as for `denoise`, for a task with a guide.
        criterion: the criterion to stop by; None for the task's default.
        sigma: the noise level on the 0-255 scale; None to estimate it, or for none if the task finds none.
        quality: `draft`, few steps; `fast`, one optimisation, the default; or `best`, the average of up to four.
        minutes: the time in which to deliver the best result; it decides quality, steps and number of optimisations.
        network: the network that parametrises the picture; None for the loss's or task's default, or
            'skip[channels=32]'.
        loss: the loss to minimise; None for the task's default.
        regulariser: a term added to the loss; None for nothing, or for `superres` a little total variation.
        input: the input of the network; None for the loss's, task's or network's default.
        input_scale: the noise input is uniform in [0, input_scale]; None for the quality's, 0.1 or, of a draft, 1.
        learning_rate: the learning rate of Adam; None for the loss's, task's or network's default.
        depth: channels of the network's input; None for the network's default.
        perturbation: noise added to the input at each step; None for the loss's, task's or network's default.
        device: auto, cpu, cuda or cuda:N.
        threads: the number of threads on a CPU; None for PyTorch's default.
        precision: float32, bfloat16, or auto: bfloat16 on a CPU with units for it, else float32.
        seed: the seed of the network's weights, its input and the perturbations.
        iterations: T, the maximum number of steps; None for 1000 (`superres`), 1500 (`inpaint`) or 2400, and more for
            over 128 x 128 pixels.
        patience: S, the number of steps without a lower value after which to stop; None for 100, or for `superres` and
            `inpaint` 300.

    Returns:
        The picture as `image`, of the type of `observation`, and why it stopped there.

    Raises:
        UsageError: the observation does not fit the task, or a name or a number is invalid.
    """
    file = None
    if isinstance(observation, str | os.PathLike):
        path = Path(observation)
        observation, file = images.read_photo(path).pixels, path.read_bytes()
    options = Options(
        task=task,
        criterion=criterion,
        sigma=sigma,
        quality=quality,
        minutes=minutes,
        network=network,
        loss=loss,
        regulariser=regulariser,
        input=input,
        input_scale=input_scale,
        learning_rate=learning_rate,
        depth=depth,
        perturbation=perturbation,
        device=device,
        threads=threads,
        precision=precision,
        seed=seed,
        iterations=iterations,
        patience=patience,
    )
    return _to_the_end(Restoration(observation, options, mask=mask, guide=guide, file=file))


def _to_the_end(at_work: Restoration) -> Restored:
    with devices.threads(at_work.options.threads):
        for _ in at_work:
            pass
    return at_work.result()
