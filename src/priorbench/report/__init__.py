"""The one page of an experiment, a file that opens offline (:mod:`priorbench.report.page`)."""
