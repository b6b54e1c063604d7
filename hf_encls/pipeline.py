"""The pipeline under a short name: `from hf_encls.pipeline import EnclsPipeline`."""

from hf_encls.inference.pipeline import EnclsPipeline

__all__ = ["EnclsPipeline"]
