"""The one page of an experiment: its numbers and figures in a file that opens offline; see ``page``."""
