"""tfmot's weight clustering: few distinct values a layer, which compress well and lose little."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from weighbridge.contracts import STEPS, Context, Model, Step
from weighbridge.core.errors import StageError
from weighbridge.environment.extras import TENSORFLOW, TF_KERAS, TFMOT, load
from weighbridge.environment.quiet import quiet
from weighbridge.formats import tf_runtime
from weighbridge.formats.keras_generations import to_tf_keras
from weighbridge.steps.train.keras_fit import KerasTraining, fit, seed

_SAMPLES = 8
_PRESERVING = "tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster"
"""The one `cluster_weights` of tfmot's that can keep zeros; the short public path does not lead there."""


class ClusterOptions(KerasTraining):
    clusters: int = Field(16, ge=2, description="Distinct values a layer's weights may take.")
    init: Literal["kmeans++", "linear", "density", "random"] = "kmeans++"
    preserve_sparsity: bool = Field(True, description="Keep the zeros of an earlier pruning.")


def cluster(model: Model, options: ClusterOptions, context: Context) -> Model:
    """Cluster, train the centroids, strip tfmot's wrappers. The weights stay float32: gate `gzip_ratio`."""
    toolkit = tf_runtime.tfmot().clustering.keras
    starts = toolkit.CentroidInitialization
    init = {"kmeans++": starts.KMEANS_PLUS_PLUS, "linear": starts.LINEAR, "density": starts.DENSITY_BASED,
            "random": starts.RANDOM}[options.init]  # fmt: skip
    seed(context)
    source = to_tf_keras(model.value, context.data.sample(_SAMPLES), "cluster")
    try:
        with quiet():
            wrapped = load(TFMOT, _PRESERVING).cluster_weights(
                source, number_of_clusters=options.clusters, cluster_centroids_init=init,
                preserve_sparsity=options.preserve_sparsity,
            )  # fmt: skip
    except ValueError as error:
        raise StageError("cluster", f"tfmot refuses the model: {error}") from error
    fit(wrapped, options, context, "cluster")
    with quiet():
        stripped = toolkit.strip_clustering(wrapped)
    return Model("keras", stripped, notes=model.notes)


STEPS.add(
    "cluster:weights",
    Step(
        "cluster",
        "weights",
        ("keras",),
        ClusterOptions,
        cluster,
        splits=("train",),
        requires=(TENSORFLOW, TF_KERAS, TFMOT),
    ),
)
