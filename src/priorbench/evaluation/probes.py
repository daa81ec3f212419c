"""What a network has learned, read off its frozen features: linear probes, and similarity before and after finetuning.

Features are those of an atom before the heads, of whole structures (nothing is masked), the network in evaluation mode.

*Probes.*  From the oxygen's features of each intact water molecule a ridge regression predicts what
:mod:`priorbench.evaluation.molecular` measures.  It is fitted on training structures; features are standardised there;
its strength is the one with the smallest error on the validation structures; the value is R² = 1 − Σ(y − ŷ)²/Σ(y − ȳ)²
on the test structures, ȳ their own mean.  A quantity that does not vary (lengths and angles of rigid water) has none.

*Similarity.*  Linear CKA (arXiv 1905.00414) of the features of all atoms of the test structures after finetuning and
before: with the weights of the pretraining that it started from, otherwise with the untrained network.  Features are
centred for each element by itself: elements differ in every network, and that alone would make all of them alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorbench.backbones.base import Backbone
from priorbench.errors import PriorbenchError
from priorbench.evaluation.errors import BATCH
from priorbench.evaluation.molecular import CONSTANT, Waters
from priorbench.evaluation.probe_table import PROBED, SIMILARITY, Row, write_probes
from priorbench.io import sha256_file
from priorbench.runs import Spec
from priorbench.training.data import Inputs, Source
from priorbench.training.labels import Labels
from priorbench.training.model import State, build, load_model, transfer
from priorbench.training.process import gpu_of, prepare_torch
from priorbench.training.store import Store

STRUCTURES = 100  # of each side, evenly spaced
SIDES = ("train", "validation", "test")
STRENGTHS = torch.logspace(-9, 3, 25, dtype=torch.float64)  # of the ridge, in multiples of the number of molecules
ROUNDING = 1e-6  # spread of a feature, relative to its size, below which it is none
UNTRAINED = ("untrained", "untrained")

Key = tuple[str, str]  # stage and strategy


@dataclass(frozen=True)
class Network:
    """A trained network, or the untrained one."""

    key: Key
    origin: Key | None  # of a finetuned network: where its features started from; None: from another dataset's
    spec: Spec
    state: State | None  # None: as initialised
    diverged: bool
    where: str

    def build(self) -> Backbone:
        """The network with its weights on the device of its spec."""
        model = build(self.spec["backbone"], self.spec["seed"])
        if self.state is not None:
            transfer(model, self.state, self.where)
        return model.to(self.spec["device"])


@dataclass(frozen=True)
class Side:
    """Structures that are probed."""

    store: Store
    waters: Waters


def probe(models: Sequence[Path], inputs: Inputs, threads: int, output: Path) -> None:
    """Probe the networks ``models`` of one dataset, backbone and seed, and the untrained one; write a table of rows."""
    loaded = [(path, *load_model(path)) for path in models]
    networks = _networks(loaded)
    metadata = loaded[0][2]
    spec = metadata["spec"]
    prepare_torch(threads, gpu_of(spec))
    source = Source.load(inputs, spec["backbone"]["cutoff"])
    for path, _, own in loaded:
        if own["data_hash"] != source.hash or own["split_hash"] != sha256_file(inputs.split):
            raise PriorbenchError(f"{path}: trained on other frames or another split than those given to probe it")
    labels = Labels.from_json(metadata["labels"])
    sides = {name: _side(source, source.side(inputs.split, name), labels, spec["device"]) for name in SIDES}
    rows = _rows(networks, sides)
    cell = {"dataset": spec["dataset"], "backbone": spec["backbone"]["name"], "seed": spec["seed"]}
    write_probes(output, [{**cell, **row} for row in rows])


def _networks(loaded: Sequence[tuple[Path, State, dict[str, Any]]]) -> list[Network]:
    """The untrained network, then the pretrained, then the finetuned ones."""
    path, _, metadata = loaded[0]
    first = metadata["spec"]
    found = {UNTRAINED: Network(UNTRAINED, None, first, None, False, str(path))}
    for path, state, metadata in loaded:
        spec = metadata["spec"]
        for name in ("dataset", "backbone", "seed"):
            if spec[name] != first[name]:
                raise PriorbenchError(f"{path}: {name} is {spec[name]!r}, but {first[name]!r} in {loaded[0][0]}")
        key = spec["stage"], _strategy(spec)
        if key in found:
            raise PriorbenchError(f"{path}: {'/'.join(key)} is given already, as {found[key].where}")
        found[key] = Network(key, _origin(spec), spec, state, metadata["status"] == "diverged", str(path))
    return sorted(found.values(), key=lambda network: (network.key != UNTRAINED, network.key[0] == "finetune"))


def _strategy(spec: Spec) -> str:
    """The strategy as it stands in paths, trials told apart."""
    return f"{spec['strategy']}+{spec['trial']}" if spec.get("trials", 1) > 1 else str(spec["strategy"])


def _origin(spec: Spec) -> Key | None:
    if not spec.get("pretraining"):
        return UNTRAINED
    own = (spec.get("pretraining_dataset") or spec["dataset"]) == spec["dataset"]
    return ("pretrain", spec["pretraining"]) if own else None


def _side(source: Source, structures: NDArray[np.int64], labels: Labels, device: str) -> Side:
    chosen = spaced(structures, STRUCTURES)
    store = Store.build(source.frames, source.neighbours, chosen, labels, device)
    return Side(store, Waters.of(source.frames, chosen))


def spaced(structures: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the ``structures``, evenly spaced."""
    count = min(most, len(structures))
    return structures[np.arange(count) * len(structures) // max(count, 1)]


def _rows(networks: Sequence[Network], sides: dict[str, Side]) -> list[Row]:
    """Rows of all networks, but for the cell that they have in common."""
    asked, molecules = _asked(sides), len(sides["test"].waters)
    needed = SIDES if any(asked.values()) else ("test",)
    elements = sides["test"].store.atomic_numbers.cpu()
    rows: list[Row] = []
    before: dict[Key, Tensor | None] = {}
    for network in networks:
        features = _features(network, {name: sides[name] for name in needed})
        of_test = None if features is None else features["test"]
        scores = dict.fromkeys(asked) if features is None else _scores(features, sides, asked)
        values: dict[str, tuple[float | None, int]] = {name: (score, molecules) for name, score in scores.items()}
        if network.key[0] == "finetune":
            values[SIMILARITY] = _similarity(network, before, of_test, elements), len(elements)
        else:
            before[network.key] = of_test
        stage, strategy = network.key
        rows += [
            {"stage": stage, "strategy": strategy, "quantity": name, "value": value, "n": n}
            for name, (value, n) in values.items()
        ]
    return rows


def _asked(sides: dict[str, Side]) -> dict[str, bool]:
    """The quantities that the structures have, and whether each varies; what has no value is said."""
    if not all(len(side.waters) for side in sides.values()):
        print("no intact water molecules on every side: similarity alone", flush=True)
        return {}
    spreads = {name: min(float(np.std(sides[s].waters.targets[name])) for s in ("train", "test")) for name in PROBED}
    for name, spread in spreads.items():
        if spread <= CONSTANT[name]:
            print(f"{name} is the same in all molecules, as in rigid water: no R² for it", flush=True)
    return {name: spread > CONSTANT[name] for name, spread in spreads.items()}


def _features(network: Network, sides: dict[str, Side]) -> dict[str, Tensor] | None:
    """Features (A, F) of all atoms by side; None where the network diverged, which is said."""
    model = network.build()
    features = {} if network.diverged else {name: features_of(model, side.store) for name, side in sides.items()}
    if network.diverged or not all(bool(values.isfinite().all()) for values in features.values()):
        print(f"{'/'.join(network.key)} diverged: no values", flush=True)
        return None
    return features


def _scores(features: dict[str, Tensor], sides: dict[str, Side], asked: dict[str, bool]) -> dict[str, float | None]:
    """R² of every quantity asked; None where it does not vary."""
    scores: dict[str, float | None] = dict.fromkeys(asked)
    varying = [name for name, varies in asked.items() if varies]
    if not varying:
        return scores
    x = {name: features[name][torch.from_numpy(sides[name].waters.oxygens)].double() for name in SIDES}
    y = {n: torch.from_numpy(np.column_stack([sides[n].waters.targets[q] for q in varying])) for n in SIDES}
    return scores | dict(zip(varying, probe_scores(x, y), strict=True))


def _similarity(
    network: Network, before: dict[Key, Tensor | None], after: Tensor | None, elements: Tensor
) -> float | None:
    if network.origin not in before:
        print(f"{'/'.join(network.key)}: what it started from is not among the models: no similarity", flush=True)
        return None
    start = before[network.origin]
    if start is None or after is None:
        return None
    return linear_cka(centred(start.double(), elements), centred(after.double(), elements))


def features_of(model: Backbone, store: Store) -> Tensor:
    """Features (A, F) of all atoms in the store, on the CPU; the network in evaluation mode."""
    model.eval()
    with torch.no_grad():
        chunks = torch.arange(len(store), device=store.positions.device).split(BATCH)
        return torch.cat([model.features(store.batch(chunk).graph).cpu() for chunk in chunks])


def probe_scores(features: dict[str, Tensor], targets: dict[str, Tensor]) -> list[float]:
    """R² on the test side of a ridge regression for each of K targets, in double precision.

    By side ``features`` (M, F) and ``targets`` (M, K); fitted on train, its strength chosen on validation.
    """
    mean = features["train"].mean(0)
    spread = features["train"].std(0, correction=0)
    infinite = torch.full_like(spread, torch.inf)  # a feature that does not vary is left out
    scale = torch.where(spread > ROUNDING * features["train"].abs().amax(0), spread, infinite)
    x = {name: (values - mean) / scale for name, values in features.items()}
    offset = targets["train"].mean(0)
    coefficients = _ridge(x["train"], targets["train"] - offset)  # (L, F, K)
    errors = (x["validation"] @ coefficients + offset - targets["validation"]).square().sum(1)  # (L, K)
    best = coefficients[errors.argmin(0), :, torch.arange(len(offset))].T
    return [float(score) for score in r_squared(targets["test"], x["test"] @ best + offset)]


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    """Coefficients (L, F, K) for every strength, from x (M, F) and y (M, K), both centred."""
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    shrunk = s / (s.square() + len(x) * STRENGTHS.unsqueeze(1))  # (L, R)
    coefficients: Tensor = vh.T @ (shrunk.unsqueeze(2) * (u.T @ y))
    return coefficients


def r_squared(true: Tensor, predicted: Tensor) -> Tensor:
    """Coefficient of determination of each column, (K,), of true and predicted values (M, K)."""
    residual, total = ((true - other).square().sum(0) for other in (predicted, true.mean(0)))
    return torch.ones_like(total) - residual / total


def centred(features: Tensor, elements: Tensor) -> Tensor:
    """``features`` (N, F) less their mean over the atoms of the same element (N,)."""
    _, owner, counts = elements.unique(return_inverse=True, return_counts=True)
    sums = features.new_zeros(len(counts), features.shape[1]).index_add(0, owner, features)
    means: Tensor = sums / counts.unsqueeze(1)
    return features - means.index_select(0, owner)


def linear_cka(x: Tensor, y: Tensor) -> float | None:
    """Linear centred kernel alignment of features (N, F) and (N, F') of the same atoms; None where one is constant.

    ‖yᵀx‖² / (‖xᵀx‖ ‖yᵀy‖) of centred features, Frobenius norms: 0 for unrelated ones, 1 for the same up to a rotation
    and a factor.
    """
    x, y = (features - features.mean(0) for features in (x, y))
    product = (y.T @ x).square().sum()
    value = float(product / ((x.T @ x).norm() * (y.T @ y).norm()))
    return value if np.isfinite(value) else None
