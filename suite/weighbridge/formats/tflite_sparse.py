"""Sparse tensors of a `.tflite`: from the tree of segments and indices back to a dense array.

The encoding is the schema's `SparsityParameters` (the format of TACO, Chou et al. 2018): each dimension, in
traversal order, is dense or compressed; a blocked dimension is traversed twice, as block and inside the
block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weighbridge.formats.tflite_types import product

if TYPE_CHECKING:
    from weighbridge.contracts import Array

_COMPRESSED = 1
_DENSE_LIMIT = 1 << 28
"""A small file can claim any shape; beyond this many numbers the claim is not believed."""


def densify(
    schema: Any, sparsity: Any, stored: Array, shape: tuple[int, ...], zero: int
) -> tuple[Array, int]:
    """The dense array of `shape`, filled with `zero` where nothing is stored, and the bytes its indices take.

    Raises `ValueError` where the encoding contradicts itself.
    """
    import numpy as np

    total = product(shape)
    if total > _DENSE_LIMIT:
        raise ValueError(f"a sparse tensor claims the shape {shape}")
    order = np.asarray(sparsity.TraversalOrderAsNumpy()).reshape(-1)
    blocked = (
        np.asarray(sparsity.BlockMapAsNumpy()).reshape(-1) if sparsity.BlockMapLength() else np.zeros(0, int)
    )
    if sorted(order) != list(range(len(shape) + len(blocked))) or sparsity.DimMetadataLength() != len(order):
        raise ValueError(f"traversal order {order.tolist()} of a tensor of {len(shape)} dimensions")

    parents = np.zeros(1, np.int64)  # positions on the level reached so far
    coordinates: dict[int, Array] = {}
    block_size = dict.fromkeys(range(len(shape)), 1)
    spent = 0
    for level, dimension in enumerate(order.tolist()):
        metadata = sparsity.DimMetadata(level)
        if metadata.Format() == _COMPRESSED:
            segments, first = _vector(schema, metadata.ArraySegmentsType(), metadata.ArraySegments())
            indices, second = _vector(schema, metadata.ArrayIndicesType(), metadata.ArrayIndices())
            spent += first + second
            lengths = segments[parents + 1] - segments[parents]
            if (lengths < 0).any() or lengths.sum() > total:
                raise ValueError("the segments of a sparse tensor contradict its shape")
            repeat = np.repeat(np.arange(len(parents)), lengths)
            inside = np.arange(len(repeat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            parents = segments[parents][repeat] + inside
            here = indices[parents]
        else:
            size = metadata.DenseSize()
            if size < 0 or len(parents) * size > total:
                raise ValueError(f"a dense dimension of a sparse tensor claims {size}")
            if dimension >= len(shape):
                block_size[int(blocked[dimension - len(shape)])] = size
            repeat = np.repeat(np.arange(len(parents)), size)
            here = np.tile(np.arange(size), len(parents))
            parents = parents[repeat] * size + here
        if (here < 0).any():
            raise ValueError("a sparse tensor has a negative index")
        coordinates = {key: value[repeat] for key, value in coordinates.items()}
        coordinates[dimension] = here

    if len(parents) > len(stored):
        raise ValueError(f"a sparse tensor stores {len(stored)} numbers, its indices name {len(parents)}")
    position = [coordinates[axis] * block_size[axis] for axis in range(len(shape))]
    for offset, axis in enumerate(blocked.tolist()):
        position[axis] = position[axis] + coordinates[len(shape) + offset]
    dense = np.full(shape, zero, stored.dtype)
    dense[tuple(position)] = stored[parents]
    return dense, spent


def _vector(schema: Any, kind: int, table: Any) -> tuple[Array, int]:
    """The numbers of an index vector as int64, and the bytes they take in the file."""
    import numpy as np

    names = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}
    vector = getattr(schema, names[kind])()
    vector.Init(table.Bytes, table.Pos)
    numbers = np.asarray(vector.ValuesAsNumpy())
    return numbers.astype(np.int64).reshape(-1), int(numbers.nbytes)
