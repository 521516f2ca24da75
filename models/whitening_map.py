"""A whitening map: vectors centred, rotated to their main directions, scaled to equal variance and cut short."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import Errors, first_line
from ..replacing import replace_file
from .settings import require

FILE = "whitening.safetensors"
# Shorter vectors are not scaled up to length one.
SHORTEST = 1e-8
_KIND = "samarkand.Whitening.v1"
_ARRAYS = ("mean", "matrix", "variance")


@dataclass(frozen=True, eq=False)
class Whitening:
    """The map y = (x - mean) matrix (BERT-whitening, arXiv 2103.15316), made by `VectorStatistics.whitening`.

    mean (np.ndarray): Mean of the vectors it was fitted on, shape (d,), float32.
    matrix (np.ndarray): Shape (d, k), float32; columns are orthogonal, in falling order of variance.
    variance (np.ndarray): Variance in the k directions, after shrinkage and before the floor, float64.
    total (float): Variance in all d directions together.
    count (int): Vectors it was fitted on.
    shrinkage (float): Weight of the round covariance, 0 to 1.
    exponent (float): 1 is whitening, 0 centring and rotation alone.
    floor (float): Least variance that is divided by, as a share of the greatest.
    normalize (bool): Scale each result to length one.
    fingerprint (str): Of the encoder, see `SentenceModel`; "" is unknown.
    pooling (str): Of the encoder; "" is the model's own.
    """

    mean: np.ndarray
    matrix: np.ndarray
    variance: np.ndarray
    total: float
    count: int
    shrinkage: float = 0.0
    exponent: float = 1.0
    floor: float = 0.0
    normalize: bool = True
    fingerprint: str = ""
    pooling: str = ""

    @property
    def width(self) -> int:
        """Width of the vectors that go in."""
        return self.matrix.shape[0]

    @property
    def dim(self) -> int:
        """Width of the vectors that come out."""
        return self.matrix.shape[1]

    @property
    def explained(self) -> float:
        """Share of the variance that is kept, 0 to 1."""
        return float(self.variance.sum() / self.total)

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """Whiten vectors.

        vectors (np.ndarray): Shape (n, d).
        RETURNS (np.ndarray): Shape (n, k), float32; a vector of zeros (a blank text) stays one.
        RAISES (ValueError): S810 for another width.
        """
        vectors = _of_width(vectors, self.width)
        whitened = (vectors - self.mean) @ self.matrix
        whitened[~vectors.any(axis=1)] = 0
        if self.normalize:
            whitened /= np.maximum(np.linalg.norm(whitened, axis=1, keepdims=True), SHORTEST)
        return whitened

    def inverse(self, vectors: np.ndarray) -> np.ndarray:
        """The vectors closest to what was whitened, within the directions that were kept.

        vectors (np.ndarray): Shape (n, k), as a map without `normalize` gives them: the length of others is lost.
        RETURNS (np.ndarray): Shape (n, d), float32.
        RAISES (ValueError): S810 for another width.
        """
        # The columns are orthogonal: the pseudo-inverse is the transpose, its rows divided by their squared lengths.
        back = self.matrix.T / np.square(self.matrix).sum(axis=0)[:, None]
        return _of_width(vectors, self.dim) @ back + self.mean

    def truncate(self, dim: int) -> Whitening:
        """The map to fewer dimensions: the same as if it were fitted so.

        dim (int): Dimensions to keep.
        RETURNS (Whitening): The map.
        RAISES (ValueError): S732 for more than there are.
        """
        require(1 <= dim <= self.dim, "dim", dim, f"from 1 to {self.dim}")
        return replace(self, matrix=np.ascontiguousarray(self.matrix[:, :dim]), variance=self.variance[:dim])

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """The map as one layer, y = x W + c. Unlike `transform` it sends a vector of zeros to c, not to zeros.

        RETURNS (tuple[np.ndarray, np.ndarray]): W, shape (d, k), and c = -mean W, shape (k,), float32.
        """
        offset = -(self.mean.astype(np.float64) @ self.matrix.astype(np.float64))
        return self.matrix, offset.astype(np.float32)

    def check_fingerprint(self, fingerprint: str) -> None:
        """Refuse an encoder that the map was not fitted for.

        fingerprint (str): Of the encoder.
        RAISES (ValueError): S816 if it is another one.
        """
        if self.fingerprint != fingerprint:
            raise ValueError(Errors.S816.format(found=self.fingerprint or "unknown", wanted=fingerprint))

    def save(self, path: str | Path) -> None:
        """Write the map to one file.

        path (str | Path): The file, `.safetensors`.
        """
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        settings = {name: value for name, value in asdict(self).items() if name not in _ARRAYS}
        with replace_file(Path(path)) as aside:
            save_file(arrays, aside, metadata={"kind": _KIND, "settings": json.dumps(settings)})


def load_whitening(path: str | Path, fingerprint: str | None = None) -> Whitening:
    """Read a map.

    path (str | Path): The file.
    fingerprint (Optional[str]): Of the encoder whose vectors are to be whitened; None does not check it.
    RETURNS (Whitening): The map.
    RAISES (ValueError): S815 if the file is missing, damaged or something else, S816 for another encoder.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != _KIND:
                raise ValueError(f"it is not of the kind {_KIND}")
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
        whitening = _checked(Whitening(**arrays, **json.loads(metadata["settings"])))
    except (OSError, SafetensorError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(Errors.S815.format(path=path, why=first_line(error))) from error
    if fingerprint is not None:
        whitening.check_fingerprint(fingerprint)
    return whitening


def _checked(whitening: Whitening) -> Whitening:
    """The map, when its arrays fit one another and its settings have their types."""
    shapes = {"mean": (whitening.width,), "matrix": (whitening.width, whitening.dim), "variance": (whitening.dim,)}
    for name, shape in shapes.items():
        array = getattr(whitening, name)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite, or not of shape {shape}")
    for field in fields(whitening):
        kinds = {"float": (int, float), "int": int, "bool": bool, "str": str}.get(str(field.type))
        if kinds and not isinstance(getattr(whitening, field.name), kinds):
            raise ValueError(f"{field.name} is no {field.type}")
    return whitening


def check_width(shape: tuple[int | str, ...], width: int | str) -> None:
    """Refuse vectors of another width.

    shape (tuple[int | str, ...]): Of the vectors, (n, d).
    width (int | str): The width they should have; a word for any.
    RAISES (ValueError): S810.
    """
    if len(shape) != 2 or shape[1] != width:
        raise ValueError(Errors.S810.format(found=str(shape).replace("'", ""), width=width))


def _of_width(vectors: np.ndarray, width: int) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    check_width(vectors.shape, width)
    return vectors
