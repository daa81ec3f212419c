"""Every suite by its key in the report, in the order they are run and shown: a new one is a module and a line here."""

from priorbench.bench import calculator, packed, parallel, scale, startup, steps
from priorbench.bench.suite import Suite

SUITES: dict[str, Suite] = {
    "steps": steps.SUITE,
    "startup": startup.SUITE,
    "parallel": parallel.SUITE,
    "packed": packed.SUITE,
    "calculator": calculator.SUITE,
    "scale": scale.SUITE,
}
