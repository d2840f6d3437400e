"""Out-of-distribution detection (OOD): lets an open target answer "none" to a picture of another kind.

A network that was trained on bears alone is as sure of a cat as of a bear, with sigmoid or softmax outputs:
it learned to tell bears apart, and nothing else. But the features of a cat are far from those of all bears.
The distance is Mahalanobis's, from the nearest class (Lee, Lee, Lee and Shin 2018, arXiv 1807.03888, equation
2).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

#: Minimum rows to fit the distance.
LEAST_ROWS, LEAST_CHECKED = 10, 5
#: Fraction of the mean variance that every direction has at least: there can be fewer rows than directions.
SHRINKAGE = 0.05


class MahalanobisScore(nn.Module):
    """min(1, limit / d) of the squared distance d from the nearest class in features of the last layer.

    It multiplies the probabilities: 1 for nearly all rows from the training distribution, 1/2 at twice the
    limit. Buffers, saved with the weights: centres (classes, width), whitener (width, width), and limit (1,),
    which is 0 before `fit`.
    """

    centres: Float[Tensor, "classes width"]
    whitener: Float[Tensor, "width width"]
    limit: Float[Tensor, " 1"]

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(classes, width))
        self.register_buffer("whitener", torch.zeros(width, width))
        self.register_buffer("limit", torch.zeros(1))

    def distances(self, features: Float[Tensor, "rows width"]) -> Float64[Tensor, " rows"]:
        """(rows,) squared distances of features (rows, width) from the nearest class, in float64."""
        whitener = self.whitener.double()
        return (
            torch.cdist(features.double() @ whitener, self.centres.double() @ whitener).square().amin(dim=1)
        )

    def forward(self, features: Float[Tensor, "rows width"]) -> Float64[Tensor, "rows 1"]:
        """(rows, 1) float64 in 0..1."""
        if not bool(self.limit > 0):
            return torch.ones_like(features[:, :1], dtype=torch.float64)
        return (self.limit.double() / self.distances(features)).clamp(max=1.0)[:, None]

    def fit(
        self,
        features: Float[np.ndarray, "rows width"],
        labels: Int[np.ndarray, " rows"],
        checked: Float[np.ndarray, "others width"],
    ) -> bool:
        """Fit the distance; returns False if there are too few rows.

        features: of training rows.  labels: their classes; others than 0 to classes - 1 are ignored.
        checked: features of held-out rows; the 0.99 quantile of their distances becomes the limit.
        """
        known = (labels >= 0) & (labels < len(self.centres))
        rows, codes = features[known].astype(np.float64), labels[known]
        if len(rows) < LEAST_ROWS or len(checked) < LEAST_CHECKED:
            return False
        # A class without rows gets the mean of all.
        centres = np.tile(rows.mean(axis=0), (len(self.centres), 1))
        for code in np.unique(codes):
            centres[code] = rows[codes == code].mean(axis=0)
        inside = rows - centres[codes]
        spread = inside.T @ inside / len(rows)
        mean = np.trace(spread) / len(spread)
        if not mean > 0:
            return False
        sizes, directions = np.linalg.eigh(spread + SHRINKAGE * mean * np.eye(len(spread)))
        with torch.no_grad():
            self.centres.copy_(torch.from_numpy(centres))
            self.whitener.copy_(torch.from_numpy(directions / np.sqrt(sizes)))
            distances = self.distances(torch.from_numpy(checked).to(self.centres.device)).cpu().numpy()
            self.limit.fill_(float(np.quantile(distances, 0.99, method="higher")))
        return bool(self.limit > 0)
