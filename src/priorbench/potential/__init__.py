"""Trained networks as potentials: an ASE calculator, a model card, an export, molecular dynamics."""
