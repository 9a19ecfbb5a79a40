"""What rings that are off as a whole add to the uncertainty of a geometry.

The points of one ring err together where tails of neighbours, a lattice constant or the profile's shape move it: taken
as independent they make distance, wavelength and parallax look better known than they are. Here every ring has an error
of its own beside those of its points, of variance tau² (random effects; DerSimonian and Laird, Control. Clin. Trials 7
(1986) 177, whose estimate of tau² is taken), and the covariance of the least squares becomes

    H⁻¹ chi² + tau² sum over rings (H⁻¹ g)(H⁻¹ g)ᵀ,     g = sum over the ring's points of w² J,    H = Jᵀ W² J.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def ring_scatter(
    strain: FloatArray, weight: FloatArray, ring: npt.NDArray[np.int64], *, chi2: float, n_radial: int
) -> float:
    """Return tau, the standard deviation of the rings' own errors [strain]; 0 where their points explain them.

    Parameters
    ----------
    strain, weight
        Shape (n,): pseudo-strain of each point and 1 over its standard uncertainty.
    ring
        Shape (n,): which ring, and image, each point is of.
    chi2
        Reduced chi-square of the fit.
    n_radial
        Parameters that the mean radii of rings determine.

    Examples
    --------
    >>> ring = np.repeat([0, 1, 2, 3], 50)
    >>> off = np.array([2e-5, -2e-5, 2e-5, -2e-5])[ring]
    >>> round(ring_scatter(off, np.full(200, 1e5), ring, chi2=1.0, n_radial=0) * 1e6)
    20
    """
    _, index = np.unique(ring, return_inverse=True)
    weights = np.bincount(index, weight**2)
    means = np.bincount(index, weight**2 * strain) / weights
    freedom = len(weights) - n_radial
    if freedom < 1:
        return 0.0
    share = float(weights.sum() - (weights**2).sum() / weights.sum()) / max(1, len(weights) - 1)
    excess = float(np.sum(weights * means**2)) / freedom - chi2
    return float(np.sqrt(max(0.0, excess / share)))


def ring_covariance(
    jacobian: FloatArray, weight: FloatArray, ring: npt.NDArray[np.int64], inverse: FloatArray, tau: float
) -> FloatArray:
    """Return what the rings' own errors add to the covariance, shape (n_parameters, n_parameters).

    `jacobian` has shape (n, n_parameters): the derivatives of each point's strain; `inverse` is H⁻¹.
    """
    _, index = np.unique(ring, return_inverse=True)
    pulls = np.zeros((int(index.max()) + 1, jacobian.shape[1]))
    np.add.at(pulls, index, weight[:, None] ** 2 * jacobian)
    responses = pulls @ inverse
    return np.asarray(tau**2 * responses.T @ responses)
