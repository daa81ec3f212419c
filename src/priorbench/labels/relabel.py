"""From the frames of a dataset to the same frames with labels of another method."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.labels.base import Labeller
from priorbench.options import resolve_options
from priorbench.registry import LABELS, load


def relabel(frames: Path, by: Mapping[str, Any], output: Path) -> None:
    """Write ``frames`` to ``output`` with the energies (eV) and forces (eV/Å) of the method ``by``.

    ``by`` has its name and beside it its options.  All other arrays stay.  The metadata gets ``labels``, the name and
    every option; ``relabels``, the hash of the original frames, which their splits and neighbour lists name; and
    ``unlabelled``, the structures that the method does not describe.
    """
    if "name" not in by:
        raise PriorbenchError(f'--by: has no name; give {{"name": ...}}, one of {", ".join(LABELS)}')
    name = by["name"]
    options = resolve_options("labels", name, {key: by[key] for key in by if key != "name"}, "--by")
    content = Frames.load(frames, verify=True)
    method = load("labels", name)
    labeller: Labeller = method(method.Options(**options))
    try:
        labelled = labeller.label(content)
    except PriorbenchError as error:
        raise PriorbenchError(f"{frames}: {error}") from None
    origin = content.metadata.get("relabels", content.metadata["hash"])
    added = {"labels": {"name": name, "options": options}, "relabels": origin}
    replace(labelled, metadata={**labelled.metadata, **added}).save(output)
