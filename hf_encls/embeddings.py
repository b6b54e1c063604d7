"""Embeddings under the name that HEAR's tools are given: `hear-validator hf_encls.embeddings`."""

from hf_encls.inference.benchmark_encoders import MtebEncoder, XaresEncoder
from hf_encls.inference.embeddings import (
    EmbeddingModel,
    get_scene_embeddings,
    get_timestamp_embeddings,
    load_model,
)

__all__ = [
    "EmbeddingModel",
    "MtebEncoder",
    "XaresEncoder",
    "get_scene_embeddings",
    "get_timestamp_embeddings",
    "load_model",
]
