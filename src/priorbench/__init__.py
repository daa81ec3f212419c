"""priorbench: a reproducible benchmark of pretraining strategies for neural potentials."""

__version__ = "0.1.0"
