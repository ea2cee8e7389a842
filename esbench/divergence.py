"""The divergence of the network with respect to the observation, estimated with a random direction.

Unbiased estimates of the squared error need it: as a loss, and as a criterion with any loss. They rest on
E[n f(y)] = sigma^2 E[df/dn], for y = x + n with independent n. If elements share noise, it is the sum of its covariance
times the derivatives with respect to each of them; a random direction with this covariance estimates it. If y was
clipped to [0, 1], df/dn is df/dy where it was not and 0 where it was: clipped elements are left out. With them, a
network would be rewarded for derivatives that mean nothing.
"""

from __future__ import annotations

import torch

from esbench.kinds import Step, Task


def divergence(
    step: Step,
    direction: torch.Tensor,
    *,
    by: torch.Tensor | None = None,
    epsilon: float | None = None,
    graph: bool = True,
) -> torch.Tensor:
    """Return an estimate of the mean of w_i df_i/dz_i over the elements i that the loss sees, 0 where y was clipped.

    Args:
        step: its z is the observation, possibly with more noise. Without `epsilon` it requires a gradient.
        direction: d, of the size of z: values of mean 0 and variance 1, independent, or correlated as the noise is.
        by: w; None for 1.
        epsilon: the step of the finite difference w d (f(z + epsilon d) - f(z)) / epsilon, where both evaluations of f
            have a gradient; None for d J^T (w d), by a vector-Jacobian product, in error only by the direction.
        graph: whether the vector-Jacobian product has a gradient, by a graph of second order.
    """
    d = direction if by is None else by * direction
    kept = step.observation.weight(step.x)
    d = d if kept is None else kept * d
    d = d * step.observation.unclipped(step.x)
    if epsilon is not None:
        return (d * (step.f(step.z + epsilon * direction) - step.x)).mean() / epsilon
    (turned,) = torch.autograd.grad((d * step.x).sum(), step.z, create_graph=graph)
    return (direction * turned).mean()


def given_itself(step: Step) -> bool:
    """Whether the input of the network is the unchanged observation, which is the picture plus noise."""
    if type(step.task).forward is not Task.forward or type(step.task).distance is not Task.distance:
        return False
    y, weight = step.observation.tensor("y", step.z), step.observation.weight(step.z)
    if weight is not None:
        y = y * (weight > 0)
    return step.z.shape == y.shape and torch.equal(step.z, y)


def noise(step: Step) -> torch.Tensor:
    """Return a direction like the noise of the observation: normal, as strong and as correlated, and of variance 1."""
    xi, w, strength = gaussian(step), step.observation.spectrum(step.z), step.observation.strength(step.z)
    if w is not None:
        xi = torch.fft.irfft2(torch.einsum("cdhw,bdhw->bchw", w, torch.fft.rfft2(xi)), xi.shape[-2:])
    return xi if strength is None else strength * xi


def gaussian(step: Step) -> torch.Tensor:
    """Return a direction of standard normal values."""
    return torch.empty_like(step.z).normal_(generator=step.generator)


def signs(step: Step) -> torch.Tensor:
    """Return a direction of -1 and 1, equally likely."""
    return 2 * torch.empty_like(step.z).bernoulli_(0.5, generator=step.generator) - 1
