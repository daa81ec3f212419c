"""Three ways in which a pretraining reads a vector for each atom from a backbone.

``own``: as the backbone gives forces, a head of its own (force-centric) or −∂E/∂r (energy-centric).  ``gradient``:
−∂E/∂r of the predicted energy, for any backbone; the vector head of a force-centric one is left as it was.
``coordinates``: how far the layers move the atom, of a backbone whose layers do (EGNN).  Finetuning always reads
``own``.
"""

from typing import Literal

from pydantic import Field

from priorbench.backbones.base import Backbone, Prediction, VectorBackbone, with_gradient
from priorbench.config import Strict
from priorbench.errors import PriorbenchError
from priorbench.graph import Graph
from priorbench.kernels.library import plain
from priorbench.tasks.base import Readout, Task


class ReadoutOptions(Strict):
    """What every pretraining task has."""

    readout: Readout = Field(
        "own",
        description="where the predicted vectors come from: own, as the backbone predicts forces (a head, or −∂E/∂r); "
        "gradient, −∂E/∂r for any backbone; coordinates, the moves of the atoms by the layers (egnn alone)",
    )


def read_out(model: Backbone, task: Task, graph: Graph) -> Prediction:
    """The prediction of a batch with its vectors (N, 3) read as the ``task`` says.

    Where a batch shares statistics (BatchNorm while training), −∂E/∂r is that of the batch's summed energy.
    """
    readout = task.readout
    if readout == "gradient" and isinstance(model, VectorBackbone):
        with plain():  # whose second derivatives are all there
            return with_gradient(model, graph)
    if readout == "coordinates":
        if not model.moves_atoms:
            raise PriorbenchError(
                f"{type(model).__name__} moves no atoms, so {type(task).__name__} has nothing to read with readout: "
                "coordinates; take readout: own or gradient, or the backbone egnn"
            )
        return model.displacements(graph)
    prediction: Prediction = model(graph)
    return prediction


def freedom(readout: Readout, own: Literal["gradient", "vector"]) -> Literal["gradient", "vector"]:
    """Whether vectors are bound to be a gradient, or free for each atom; ``own`` is what the backbone's are."""
    if readout == "own":
        return own
    return "gradient" if readout == "gradient" else "vector"
