"""Metrics of explanations of language models: what Captum's `LLMAttribution` explains, as a model and its inputs."""

from .log_probability import LogProbability as LogProbability
from .methods import method as method

__all__ = ["LogProbability", "method"]
