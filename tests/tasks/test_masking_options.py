"""Which atom is removed, which loss is taken, and targets that are permuted."""

import numpy as np
import pytest
import torch

from priorbench.backbones.base import Prediction
from priorbench.errors import PriorbenchError
from priorbench.tasks.base import Example, loss
from priorbench.tasks.masking import Masking, MaskingOptions, permuted
from priorbench.training.step import parts_of
from tests.conftest import make_frames, make_store, one_structure
from tests.tasks.test_masking import ETHANOL, ETHANOL_BONDS, ETHANOL_NUMBERS, draws

MOLECULES, RATIO = 8, 0.5
# Atoms that the first two visits of three boxes removed before there were any options.
REMOVED = [
    [8, 11, 14, 17, 29, 38, 44, 46, 50, 58, 65, 70],
    [7, 13, 19, 23, 32, 37, 40, 44, 52, 58, 67, 70],
]
every_element = pytest.mark.parametrize("element", ["hydrogen", "heavy", "any"])
every_loss = pytest.mark.parametrize("name", ["cosine", "l1", "l2"])


def masking(**options) -> Masking:
    return Masking(MaskingOptions(**options))


@pytest.fixture
def batch(tmp_path):
    return make_store(make_frames(3), tmp_path).batch(torch.arange(3))


@pytest.fixture
def ethanol(tmp_path):
    frames = one_structure(ETHANOL, np.zeros((3, 3)), ETHANOL_NUMBERS, periodic=False)
    return make_store(frames, tmp_path).batch(torch.tensor([0]))


def test_the_default_removes_the_atoms_that_it_removed_before_there_were_options(batch):
    task, generator = masking(), draws(11)
    assert [task._draw(batch, generator)[1].tolist() for _ in REMOVED] == REMOVED


def pointing(bonds: dict[int, set[int]], lost: dict[int, int]) -> dict[int, list[int]]:
    """For each atom left the removed atoms it may point to, atom by atom; ``lost`` by site."""
    found: dict[int, list[int]] = {}
    for site, gone in lost.items():
        around = bonds[site] if gone == site else bonds[site] | {site}
        for atom in around - set(lost.values()):
            found.setdefault(atom, []).append(gone)
    return found


def check(task: Masking, batch, bonds: dict[int, set[int]], seed: int) -> set[int]:
    """Compare a corruption with brute force; returns the atoms that were removed."""
    sites, removed = task._draw(batch, draws(seed))
    lost = dict(zip(sites.tolist(), removed.tolist(), strict=True))
    assert len(lost) == len(removed)
    example, n = task.corrupt(batch, draws(seed)), batch.graph.atoms
    kept = [a for a in range(n) if a not in lost.values()]
    assert torch.equal(example.graph.positions, batch.graph.positions[kept])
    expected = pointing(bonds, lost)
    assert [kept[i] for i in example.selected.tolist()] == sorted(expected)
    assert [kept[i] for i in example.graph.lost.nonzero().squeeze(1).tolist()] == sorted(expected)
    for i in example.selected.tolist():
        r, own = batch.graph.positions.double().numpy(), kept[i]
        length = float(batch.graph.cells[batch.graph.structure[own], 0, 0])
        vectors = r[expected[own]] - r[own]
        if length:
            vectors -= length * np.round(vectors / length)
        nearest = vectors[np.linalg.norm(vectors, axis=1).argmin()]
        np.testing.assert_allclose(example.vectors[i], nearest, atol=1e-5)
    return set(lost.values())


@every_element
def test_in_water_the_atoms_left_of_a_molecule_point_to_the_one_removed(batch, element):
    numbers, gone = batch.graph.atomic_numbers, []
    bonds = {o: {o + 1, o + 2} for o in range(0, batch.graph.atoms, 3)}
    for seed in range(40):
        gone += sorted(check(masking(element=element, ratio=RATIO), batch, bonds, seed))
    assert len(gone) == 40 * 3 * MOLECULES * RATIO
    oxygens = sum(int(numbers[a]) == 8 for a in gone) / len(gone)
    # One third of 480 where any atom may go: a standard deviation of 0.022.
    assert {"hydrogen": 0, "heavy": 1}.get(element, pytest.approx(1 / 3, abs=0.08)) == oxygens


@every_element
def test_in_ethanol_every_bonded_atom_points_to_the_nearest_one_removed(ethanol, element):
    bonds = {site: set(atoms) for site, atoms in ETHANOL_BONDS.items()}
    gone: set[int] = set()
    for seed in range(120):
        gone |= check(masking(element=element, ratio=1.0), ethanol, bonds, seed)
    heavy, hydrogens = set(bonds), set(range(9)) - set(bonds)
    assert gone == {"hydrogen": hydrogens, "heavy": heavy, "any": heavy | hydrogens}[element]


def test_the_same_draws_choose_the_same_molecules_for_every_element(batch):
    chosen = [masking(element=e)._draw(batch, draws(4))[0] for e in ("hydrogen", "heavy", "any")]
    assert sorted(chosen[0].tolist()) == sorted(chosen[1].tolist()) == sorted(chosen[2].tolist())


@every_loss
def test_losses_by_hand(name):
    target = torch.tensor([[1.0, 0.0, 0.0], [9.0, 9.0, 9.0], [0.0, 2.0, 0.0]])
    predicted = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 3.0, 4.0]])
    example = Example(None, target, torch.tensor([0, 2]))  # type: ignore[arg-type]
    task, prediction = masking(loss=name), Prediction(torch.zeros(1), predicted)
    value = loss(task, task.terms(prediction, example), task.counts(example))
    # Errors (1, 0, 0) and (0, 1, 4) of six components; cosines 1 and 3/5 of two atoms.
    expected = {"cosine": 0.4 / 2, "l1": 6 / 6, "l2": 18 / 6}[name]
    assert float(value) == pytest.approx(expected, rel=1e-6)


@every_loss
@pytest.mark.parametrize("permute", [False, True])
def test_the_loss_of_a_batch_is_the_sum_over_its_parts(batch, name, permute):
    task = masking(loss=name, permute=permute)
    example = task.corrupt(batch, draws(0))
    vectors = torch.randn(example.vectors.shape, generator=draws(1))
    counts, atoms, total = task.counts(example), torch.bincount(example.graph.structure).tolist(), 0.0
    parts = list(parts_of(example, 1))
    assert len(parts) == 3
    for part, own in zip(parts, vectors.split(atoms), strict=True):
        total += float(loss(task, task.terms(Prediction(torch.zeros(1), own), part), counts))
    whole = loss(task, task.terms(Prediction(torch.zeros(3), vectors), example), counts)
    assert total == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"element": "any"}, {"rule": "released"}])
def test_permuted_targets_are_those_of_the_structure_and_every_mask_stays(batch, options):
    plain, shuffled = draws(3), draws(3)
    moved = []
    for _ in range(3):  # the second visit's masks would change if the shuffle were drawn from the same generator
        own = masking(**options).corrupt(batch, plain)
        other = masking(permute=True, **options).corrupt(batch, shuffled)
        assert torch.equal(own.selected, other.selected)
        for name in ("positions", "senders", "receivers", "structure"):
            assert torch.equal(getattr(own.graph, name), getattr(other.graph, name)), name
        owner = own.graph.structure[own.selected]
        for s in range(3):
            a, b = (e.vectors[e.selected][owner == s].tolist() for e in (own, other))
            assert sorted(a) == sorted(b)
        moved.append((own.vectors != other.vectors).any(1)[own.selected].double().mean())
        unselected = torch.ones(len(own.vectors), dtype=torch.bool)
        unselected[own.selected] = False
        assert torch.equal(own.vectors[unselected], other.vectors[unselected])
    assert min(moved) > 0.6


def test_a_shuffle_follows_from_the_run_s_own_draws_alone(batch):
    """Whatever the global generator has been used for, so that a run that was cut goes on as it would have."""
    own = masking().corrupt(batch, draws(0))
    found = []
    for noise, seed in ((1, 5), (2, 5), (1, 6)):
        torch.manual_seed(noise)
        found.append(permuted(own, draws(seed)).vectors)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_every_atom_gets_every_target_of_its_structure_in_turn(tmp_path):
    batch = make_store(make_frames(1), tmp_path).batch(torch.tensor([0]))
    own = masking(ratio=0.25).corrupt(batch, draws(0))  # two molecules, four targets
    targets, counts = own.vectors[own.selected], np.zeros((4, 4))
    for seed in range(400):
        got = permuted(own, draws(seed)).vectors[own.selected]
        counts += (got[:, None] == targets[None]).all(2).numpy()
    # 100 expected; a standard deviation of 9.
    assert counts.min() > 60
    assert counts.max() < 140


def test_the_floor_is_known_for_the_paper_s_form_alone(tmp_path):
    store = make_store(make_frames(2), tmp_path)
    for options in ({"element": "heavy"}, {"element": "any"}, {"loss": "l1"}, {"loss": "l2"}, {"permute": True}):
        assert masking(**options).floor(store, "vector") is None, options
    floors = [masking(readout=r).floor(store, o) for r, o in (("gradient", "vector"), ("coordinates", "gradient"))]
    assert floors == pytest.approx([0.730, 0.479], abs=1e-3)


@pytest.mark.parametrize("element", ["heavy", "any"])
def test_the_released_rule_knows_hydrogen_alone(element):
    with pytest.raises(PriorbenchError, match=f"^element {element}: rule released removes hydrogens alone; set rule"):
        masking(element=element, rule="released")
