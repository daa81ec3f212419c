"""Edge layers computed block by block, with derivatives written out: what most of a training step's time goes into.

A backbone's file holds its equations in plain PyTorch; a class here computes the same edge layer with fewer passes
over memory.  Tests hold the two against each other; :func:`plain` switches the kernels off.
"""
