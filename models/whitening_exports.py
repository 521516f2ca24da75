"""Whitening maps as a layer of a `sentence-transformers` model, and as a step of a FAISS index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .sentence_model import SentenceTransformerModel
from .whitening_map import Whitening, check_width

if TYPE_CHECKING:
    import faiss
    from sentence_transformers import SentenceTransformer


def without_normalize(model: SentenceTransformer) -> SentenceTransformer:
    """A model without the scaling to length one at its end: what a map is best fitted on.

    Scaling is not linear. It puts vectors on a sphere around the origin, where directions depend on one another and the
    mean is not the centre, so that no affine map can give them equal variance in all directions.

    model (SentenceTransformer): The model.
    RETURNS (SentenceTransformer): One of the same modules, the last left out if it is a `Normalize`; or the model.
    """
    from sentence_transformers.sentence_transformer.modules import Normalize

    modules = list(model)
    return _with_modules(model, modules[:-1]) if isinstance(modules[-1], Normalize) else model


def fitted_model(model: SentenceTransformer, whitening: Whitening) -> SentenceTransformer:
    """The model whose vectors a map was fitted on.

    A `Normalize` at the end of the model is dropped when the map was fitted without it: it would change what the map
    gets. One that the map was fitted with stays, and so it does when the map does not know its encoder.

    model (SentenceTransformer): The model that the map was fitted for.
    whitening (Whitening): The map.
    RETURNS (SentenceTransformer): The model, or one of the same modules but the last.
    RAISES (ValueError): S810 for vectors of another width, S816 if the map was fitted for another model.
    """
    bare = without_normalize(model)
    if whitening.fingerprint and whitening.fingerprint == SentenceTransformerModel(bare).fingerprint:
        model = bare
    elif whitening.fingerprint:
        whitening.check_fingerprint(SentenceTransformerModel(model).fingerprint)
    check_width(("n", model.get_embedding_dimension()), whitening.width)
    return model


def append_whitening(model: SentenceTransformer, whitening: Whitening) -> SentenceTransformer:
    """A model that gives whitened vectors, of modules that any `sentence-transformers` has: `Dense` and `Normalize`.

    They follow what `fitted_model` gives; a linear map at its end becomes one with the map, which then costs nothing.

    model (SentenceTransformer): The model that the map was fitted for.
    whitening (Whitening): The map.
    RETURNS (SentenceTransformer): A new model on the same modules. Unlike `SentenceModel` it has no zeros for blank
        texts.
    RAISES (ValueError): S810 for vectors of another width, S816 if the map was fitted for another model.
    """
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize

    model = fitted_model(model, whitening)
    matrix, offset = (torch.tensor(a, dtype=torch.float64, device=model.device) for a in whitening.affine())
    modules = list(model)
    if _is_linear(modules[-1]):
        before = modules.pop().linear
        offset = offset if before.bias is None else before.bias.detach().double() @ matrix + offset
        matrix = before.weight.detach().T.double() @ matrix
    weight, bias = (array.to(model.dtype) for array in (matrix.T.contiguous(), offset))
    dense = Dense(*matrix.shape, activation_function=None, init_weight=weight, init_bias=bias)
    return _with_modules(model, [*modules, dense.to(model.device), *([Normalize()] if whitening.normalize else [])])


def _is_linear(module: torch.nn.Module) -> bool:
    """Whether a module maps the sentence vector by a matrix and a bias alone."""
    from sentence_transformers.sentence_transformer.modules import Dense

    return (
        isinstance(module, Dense)
        and isinstance(module.activation_function, torch.nn.Identity)
        and module.module_input_name == module.module_output_name == "sentence_embedding"
        and not module.use_residual
    )


def faiss_transform(whitening: Whitening) -> faiss.LinearTransform:
    """A map as a transform of FAISS: without scaling to length one, and a vector of zeros is moved like any other.

    whitening (Whitening): The map.
    RETURNS (LinearTransform): From d to k dimensions, trained.
    """
    import faiss

    matrix, offset = whitening.affine()
    transform = faiss.LinearTransform(*matrix.shape, True)
    faiss.copy_array_to_vector(matrix.T.ravel(), transform.A)
    faiss.copy_array_to_vector(offset, transform.b)
    transform.is_trained = True
    transform.set_is_orthonormal()
    return transform


def whitened_index(index: faiss.Index, whitening: Whitening) -> faiss.IndexPreTransform:
    """An index that takes vectors as the encoder gives them, and whitens what is added and what is searched for.

    Keep the vectors of zeros of blank texts out of it: they are moved like any others.

    index (Index): An index of k dimensions.
    whitening (Whitening): The map from d to k dimensions; with `normalize`, vectors of length one reach the index.
    RETURNS (IndexPreTransform): The index, which FAISS can write and read as a whole.
    RAISES (ValueError): S810 for an index of other dimensions.
    """
    import faiss

    check_width(("n", index.d), whitening.dim)
    whole = faiss.IndexPreTransform(index)
    if whitening.normalize:
        whole.prepend_transform(faiss.NormalizationTransform(index.d))
    whole.prepend_transform(faiss_transform(whitening))
    return whole


def _with_modules(model: SentenceTransformer, modules: list[torch.nn.Module]) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        modules=modules,
        device=str(model.device),
        prompts=model.prompts,
        default_prompt_name=model.default_prompt_name,
    ).eval()
