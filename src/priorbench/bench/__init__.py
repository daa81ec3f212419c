"""``priorbench bench``: what a training step costs on the machine at hand.

A report has the machine, the options and one list of rows a *suite*; :mod:`priorbench.bench.suites` names them all.
Times are also given in *matmul units*: seconds × the rate of a large matrix product, the GFLOP that the machine could
have done meanwhile, so that machines (and a machine on another day) can be compared.  Tables show the median step;
what is judged, against an earlier report or against :mod:`priorbench.bench.bounds`, is the best one.
"""
