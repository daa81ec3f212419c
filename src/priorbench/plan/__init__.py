"""What an experiment costs, told before anything starts: ``priorbench plan``.

Which runs there are and how many structures each visits follows from the configuration alone (:mod:`sizes`,
:mod:`stages`); what a visit costs is counted in FLOPs and timed on the machine at hand (:mod:`worker`, in a process of
its own, so that nothing here imports torch) or taken from a report of ``priorbench bench`` (:mod:`cost`).
"""
