"""What every workflow of this project shares: the path of its command, and options for files that may not be there."""

import os
import sys

from priorbench.sources import code_of

# Jobs find `priorbench` beside the Python that runs Snakemake, whether or not its environment is activated.
os.environ.update(
    PATH=os.pathsep.join(
        [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
    )
)


def option(name, files):
    """A command-line option for the one file, or none for no file."""
    return [name, *files] if files else []
