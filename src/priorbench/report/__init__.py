"""The one page of an experiment: every number and figure in a file that opens offline (:mod:`priorbench.report.page`)."""
