"""The masking task as described in arXiv 2402.15921."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from priorbench.backbones.base import Prediction
from priorbench.errors import PriorbenchError
from priorbench.frames import Frames
from priorbench.graph import minimum_image, without_atoms
from priorbench.tasks.base import loss
from priorbench.tasks.masking import Masking, MaskingOptions
from tests.conftest import make_frames, make_store, one_structure
from tests.networks import every_network, network

MOLECULES = 8


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def store(tmp_path):
    return make_store(make_frames(3), tmp_path)


@pytest.mark.parametrize(("ratio", "masked"), [(0.5, 4), (0.3, 2), (1.0, 8)])
def test_floor_of_ratio_molecules_lose_one_hydrogen(store, ratio, masked):
    batch = store.batch(torch.arange(3))
    example = Masking(MaskingOptions(ratio=ratio)).corrupt(batch, draws(0))
    kept = torch.bincount(example.graph.structure)
    assert (kept == 3 * MOLECULES - masked).all()
    oxygens = torch.bincount(example.graph.structure[example.graph.atomic_numbers == 8])
    assert (oxygens == MOLECULES).all()
    assert len(example.selected) == 3 * 2 * masked
    assert int(example.graph.lost.sum()) == 3 * 2 * masked


@pytest.mark.parametrize(("ratio", "count", "drawn"), [(0.29, 100, 29), (0.21, 300, 63), (0.5, 9, 4), (1.0, 7, 7)])
def test_the_share_is_that_of_decimal_numbers(ratio, count, drawn):
    assert Masking(MaskingOptions(ratio=ratio))._drawn(torch.tensor([count])).tolist() == [drawn]


def test_both_hydrogens_of_every_molecule_get_their_turn(store):
    task, batch = Masking(MaskingOptions(ratio=0.5)), store.batch(torch.tensor([0]))
    gone = torch.zeros(batch.graph.atoms)
    generator = draws(0)
    for _ in range(200):
        gone[task._draw(batch, generator)[1]] += 1
    hydrogens = batch.graph.atomic_numbers == 1
    assert gone[~hydrogens].sum() == 0
    # 200 visits × 4 of 8 molecules × 1 of 2 hydrogens: 50 expected for each of the 16.
    assert gone[hydrogens].min() > 25
    assert gone[hydrogens].max() < 75


def test_masks_are_redrawn_at_every_visit_and_repeat_with_the_seed(store):
    task, batch = Masking(MaskingOptions(ratio=0.5)), store.batch(torch.arange(3))
    generator = draws(0)
    first, second = task.corrupt(batch, generator), task.corrupt(batch, generator)
    again = task.corrupt(batch, draws(0))
    assert not torch.equal(first.graph.positions, second.graph.positions)
    assert torch.equal(first.graph.positions, again.graph.positions)


def test_target_across_a_periodic_boundary_by_hand(tmp_path):
    # The oxygen sits at the right wall; one hydrogen has left through it and came back on the left.
    positions = np.array([[9.8, 5.0, 5.0], [0.75, 5.0, 5.0], [9.56, 5.93, 5.0]])
    frames = one_structure(positions, np.eye(3) * 10.0, [8, 1, 1])
    batch = make_store(frames, tmp_path).batch(torch.tensor([0]))
    task = Masking(MaskingOptions(ratio=1.0))
    examples = [task.corrupt(batch, draws(seed)) for seed in range(20)]
    crossing = next(e for e in examples if torch.allclose(e.graph.positions[1], torch.tensor([9.56, 5.93, 5.0])))
    expected = torch.tensor([[0.95, 0.0, 0.0], [1.19, -0.93, 0.0]])
    torch.testing.assert_close(crossing.vectors, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "cell",
    [
        np.eye(3) * 6.0,
        np.array([[4.4, 0, 0], [-2.2, 3.81, 0], [0, 0, 7.0]]),  # a narrow hexagonal one
        np.array([[6.0, 0, 0], [2.9, 6, 0], [-2.8, -2.9, 6]]),
    ],
)
def test_targets_are_the_shortest_of_all_images_in_any_cell(cell):
    # Rounding alone is exact in rectangular cells only.
    random = np.random.default_rng(0)
    vectors = random.normal(0, 3, (300, 3))
    images = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), axis=-1).reshape(-1, 3) @ cell
    expected = np.linalg.norm(vectors[:, None] + images, axis=2).min(1)
    cells = torch.as_tensor(cell, dtype=torch.float32).expand(300, 3, 3)
    pbc = torch.ones(300, 3, dtype=torch.bool)
    found = minimum_image(torch.as_tensor(vectors, dtype=torch.float32), cells, pbc)
    np.testing.assert_allclose(found.norm(dim=1), expected, atol=1e-4)
    assert torch.equal(minimum_image(found, cells, ~pbc), found)


def test_a_wire_may_be_periodic_along_any_axis():
    # The vector beside it was taken for one along the same axis, which made the cell singular.
    cells = torch.tensor([[[0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    found = minimum_image(torch.tensor([[7.0, 13.0, -9.0]]), cells, torch.tensor([[True, False, False]]))
    torch.testing.assert_close(found, torch.tensor([[7.0, -2.0, -9.0]]))


def test_of_equally_near_hydrogens_the_first_is_the_target():
    # Both were kept, and which one was written was left to chance on a GPU.
    from priorbench.tasks.masking import _nearest_of_each

    offsets = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0.5], [0, -1.0, 0]])
    assert _nearest_of_each(torch.tensor([3, 3, 1, 3]), offsets, 5).tolist() == [True, False, True, False]


@every_network
def test_moving_a_masked_hydrogen_changes_neither_input_nor_prediction(spec, tmp_path):
    frames = make_frames(1)
    task = Masking(MaskingOptions(ratio=0.5))
    batch = make_store(frames, tmp_path, spec["cutoff"]).batch(torch.tensor([0]))
    hidden = task._draw(batch, draws(7))[1].numpy()
    positions = frames.positions.copy()
    positions[hidden] += np.random.default_rng(0).normal(scale=0.4, size=(len(hidden), 3))
    moved = make_store(replace(frames, positions=positions), tmp_path, spec["cutoff"]).batch(torch.tensor([0]))
    a, b = task.corrupt(batch, draws(7)), task.corrupt(moved, draws(7))
    for name in ("atomic_numbers", "positions", "senders", "receivers", "shifts", "structure", "lost"):
        assert torch.equal(getattr(a.graph, name), getattr(b.graph, name)), name
    assert not torch.equal(a.vectors, b.vectors)
    model = network(spec).eval()
    assert torch.equal(model(a.graph).vectors, model(b.graph).vectors)


def test_dropped_edges_equal_a_fresh_list_of_the_atoms_left(tmp_path):
    from priorbench.neighbours import neighbour_list

    frames = make_frames(1)
    batch = make_store(frames, tmp_path).batch(torch.tensor([0]))
    example = Masking(MaskingOptions(ratio=0.5)).corrupt(batch, draws(1))
    graph = example.graph
    fresh = neighbour_list(graph.positions.double().numpy(), frames.cells[0], frames.pbc[0], batch.cutoff)
    assert torch.equal(graph.senders, torch.as_tensor(fresh[0].astype(np.int64)))
    assert torch.equal(graph.receivers, torch.as_tensor(fresh[1].astype(np.int64)))


def test_loss_is_one_minus_cosine_over_the_selected_atoms(store):
    task = Masking(MaskingOptions(ratio=0.5))
    example = task.corrupt(store.batch(torch.arange(2)), draws(0))
    right = Prediction(torch.zeros(2), 3.0 * example.vectors)
    wrong = Prediction(torch.zeros(2), -0.1 * example.vectors)
    for prediction, expected in ((right, 0.0), (wrong, 2.0)):
        total, count = task.terms(prediction, example)["cosine"], task.counts(example)["cosine"]
        assert count == len(example.selected)
        assert float(total / count) == pytest.approx(expected, abs=1e-5)


def test_molecules_that_are_not_intact_are_never_masked(tmp_path):
    frames = make_frames(1)
    broken = frames.molecules.copy()
    broken[frames.molecules == 7] = -1
    batch = make_store(replace(frames, molecules=broken), tmp_path).batch(torch.tensor([0]))
    gone = set()
    for seed in range(50):
        gone |= set(Masking(MaskingOptions(ratio=0.9))._draw(batch, draws(seed))[1].tolist())
    assert not gone & set(np.flatnonzero(broken < 0).tolist())


def test_ratio_that_masks_nothing_is_refused(store):
    with pytest.raises(PriorbenchError, match=r"ratio 0\.1 would mask nothing: .* more than 8 .* at least 0\.125"):
        Masking(MaskingOptions(ratio=0.1)).check(store)


def test_floor_of_rigid_water(tmp_path):
    task, store = Masking(MaskingOptions()), make_store(make_frames(2), tmp_path)
    assert task.floor(store, "vector") == pytest.approx(0.479, abs=1e-3)
    assert task.floor(store, "gradient") == pytest.approx(0.730, abs=1e-3)


def test_without_atoms_keeps_order_and_drops_their_edges(store):
    graph = store.batch(torch.tensor([0])).graph
    hidden = torch.zeros(graph.atoms, dtype=torch.bool)
    hidden[[1, 5]] = True
    smaller = without_atoms(graph, hidden)
    assert torch.equal(smaller.positions, graph.positions[~hidden])
    ends = hidden[graph.senders] | hidden[graph.receivers]
    assert len(smaller.senders) == int((~ends).sum())
    distances = smaller.positions[smaller.senders] - smaller.positions[smaller.receivers] + smaller.shifts
    assert float(distances.norm(dim=1).max()) < 3.4 + 1e-5


def test_frames_fixture_has_molecules_across_the_boundary():
    frames: Frames = make_frames(3)
    spans = [
        np.ptp(frames.positions[frames.atoms_of(s)][frames.molecules[frames.atoms_of(s)] == m], axis=0).max()
        for s in range(3)
        for m in range(MOLECULES)
    ]
    assert max(spans) > 3


CH = 1.09
ETHANOL_BONDS = {0: {2, 3, 4, 1}, 1: {0, 5, 6, 7}, 7: {1, 8}}  # C C . H H H / H H O H, by heavy atom
ETHANOL = np.array(
    [
        [0.0, 0.0, 0.0],  # C of CH3
        [1.52, 0.0, 0.0],  # C of CH2
        [-0.36, 1.03, 0.0],
        [-0.36, -0.51, 0.89],
        [-0.36, -0.51, -0.89],
        [1.88, -0.51, 0.89],
        [1.88, -0.51, -0.89],
        [2.0, 1.34, 0.0],  # O
        [2.96, 1.34, 0.0],
    ]
)
ETHANOL_NUMBERS = [6, 6, 1, 1, 1, 1, 1, 8, 1]


@pytest.fixture
def ethanol(tmp_path):
    frames = one_structure(ETHANOL, np.zeros((3, 3)), ETHANOL_NUMBERS, periodic=False)
    return make_store(frames, tmp_path).batch(torch.tensor([0]))


def test_in_any_molecule_the_bonded_neighbourhood_points_to_the_nearest_lost_hydrogen(ethanol):
    seen = set()
    for seed in range(200):
        task = Masking(MaskingOptions(ratio=1.0))
        sites, removed = task._draw(ethanol, draws(seed))
        assert sorted(sites.tolist()) == [0, 1, 7]
        lost = dict(zip(sites.tolist(), removed.tolist(), strict=True))
        assert all(gone in ETHANOL_BONDS[site] for site, gone in lost.items())
        example = task.corrupt(ethanol, draws(seed))
        kept = [a for a in range(9) if a not in lost.values()]
        expected = {}
        for atom in kept:
            near = [lost[site] for site, bonds in ETHANOL_BONDS.items() if atom == site or atom in bonds]
            if near:
                vectors = ETHANOL[near] - ETHANOL[atom]
                expected[kept.index(atom)] = vectors[np.linalg.norm(vectors, axis=1).argmin()]
        assert example.selected.tolist() == sorted(expected)
        assert example.graph.lost.nonzero().squeeze(1).tolist() == sorted(expected)
        for place, vector in expected.items():
            np.testing.assert_allclose(example.vectors[place], vector, atol=1e-5)
        seen |= set(lost.values())
    assert seen == {2, 3, 4, 5, 6, 8}


def test_a_share_of_the_sites_is_drawn_and_the_rest_is_left_alone(ethanol):
    sites = [Masking(MaskingOptions(ratio=0.4))._draw(ethanol, draws(seed))[0].tolist() for seed in range(60)]
    assert {len(s) for s in sites} == {1}
    assert {s[0] for s in sites} == {0, 1, 7}


def test_the_released_rule_points_every_atom_away_from_the_farthest_lost_hydrogen(ethanol):
    task = Masking(MaskingOptions(ratio=0.5, rule="released"))
    counts = []
    for seed in range(200):
        example = task.corrupt(ethanol, draws(seed))
        left = example.graph.positions.numpy()
        gone = np.array([r for r in ETHANOL if np.abs(left - r).sum(1).min() > 1e-4])
        counts.append(len(gone))
        assert example.graph.lost is None
        if len(gone) == 0:
            assert len(example.selected) == 0
            continue
        assert len(example.selected) == len(left)
        for atom, vector in zip(left, example.vectors.numpy(), strict=True):
            away = atom - gone
            np.testing.assert_allclose(vector, away[np.linalg.norm(away, axis=1).argmax()], atol=1e-5)
    assert 2.6 < np.mean(counts) < 3.4  # of six hydrogens, one half each
    assert min(counts) < 2
    assert max(counts) > 4


def test_the_released_rule_takes_the_minimum_image_and_keeps_structures_apart(tmp_path):
    batch = make_store(make_frames(3), tmp_path).batch(torch.tensor([1, 0, 2]))
    graph = batch.graph
    task, lost = Masking(MaskingOptions(ratio=0.1, rule="released")), []
    for seed in range(12):
        example = task.corrupt(batch, draws(seed))
        places = np.arange(example.graph.atoms)
        targets = np.isin(places, example.selected.numpy())
        for s in range(3):
            own = example.graph.structure.numpy() == s
            left, side = example.graph.positions[own].numpy(), float(graph.cells[s, 0, 0])
            gone = np.array([r for r in graph.positions[graph.structure == s].numpy() if not (left == r).all(1).any()])
            lost.append(len(gone))
            assert targets[own].tolist() == [len(gone) > 0] * own.sum()
            for atom, vector in zip(left, example.vectors[own].numpy(), strict=True):
                away = atom - gone if len(gone) else np.zeros((1, 3))
                away -= side * np.round(away / side)
                np.testing.assert_allclose(vector, away[np.linalg.norm(away, axis=1).argmax()], atol=1e-5)
    assert 0 in lost[::3]  # the first: those that follow have their targets all the same
    assert max(lost) > 2


def test_a_context_free_floor_is_stated_for_water_alone(ethanol, tmp_path):
    frames = one_structure(ETHANOL, np.zeros((3, 3)), ETHANOL_NUMBERS, periodic=False)
    assert Masking(MaskingOptions()).floor(make_store(frames, tmp_path), "vector") is None
    water = make_store(make_frames(1), tmp_path)
    assert Masking(MaskingOptions(rule="released")).floor(water, "vector") is None


def test_structures_without_any_hydrogen_to_hide_are_refused(tmp_path):
    carbon_dioxide = np.array([[0.0, 0, 0], [1.16, 0, 0], [-1.16, 0, 0]])
    store = make_store(one_structure(carbon_dioxide, np.zeros((3, 3)), [6, 8, 8], periodic=False), tmp_path)
    for rule in ("bonded", "released"):
        with pytest.raises(PriorbenchError, match=r"would mask nothing.* take other structures"):
            Masking(MaskingOptions(rule=rule)).check(store)


@pytest.mark.parametrize(("hydrogens", "idle"), [(0, 1), (1, 0), (2, 0)])
def test_one_hydrogen_is_enough_for_the_released_rule(hydrogens: int, idle: int, tmp_path):
    frames = make_frames(2)
    numbers, second = frames.atomic_numbers.copy(), np.arange(len(frames.atomic_numbers))[frames.atoms_of(1)]
    numbers[second[numbers[second] == 1][hydrogens:]] = 8
    store = make_store(replace(frames, atomic_numbers=numbers), tmp_path)
    assert Masking(MaskingOptions(rule="released")).check(store) == idle


def test_one_molecule_is_enough(store):
    assert Masking(MaskingOptions(ratio=1 / 8)).check(store) == 0  # of eight


def test_a_structure_without_intact_molecules_is_visited_without_a_loss(tmp_path):
    # Four of the 20,000 structures of revised MD17 share a proton within the molecule: all of them were refused.
    frames = make_frames(2)
    molecules = frames.molecules.copy()
    molecules[frames.atoms_of(1)] = -1
    store = make_store(replace(frames, molecules=molecules), tmp_path)
    task = Masking(MaskingOptions(ratio=0.5))
    assert task.check(store) == 1
    both = task.corrupt(store.batch(torch.arange(2)), draws(0))
    assert set(both.graph.structure[both.selected].tolist()) == {0}
    alone = task.corrupt(store.batch(torch.tensor([1])), draws(0))
    assert alone.graph.atoms == 3 * MOLECULES
    vectors = torch.ones_like(alone.vectors, requires_grad=True)
    value = loss(task, task.terms(Prediction(torch.zeros(1), vectors), alone), task.counts(alone))
    value.backward()
    assert float(value.detach()) == 0
    assert not vectors.grad.any()
