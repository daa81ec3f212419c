"""Adam and AdamW without the compiler's import."""

import pytest
import torch

from priorbench.config import Training
from priorbench.training.optimiser import Adam

RATES = (1e-2, 3e-3, 1e-3)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_steps_equal_those_of_torch(name):
    reference = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    torch.manual_seed(0)
    ours = [torch.randn(5, 3, requires_grad=True), torch.randn(7, requires_grad=True)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    training = Training(epochs=1, optimiser=name, weight_decay=0.1)
    optimiser, expected = Adam(ours, training), reference(theirs, weight_decay=0.1)
    for rate in RATES:
        expected.param_groups[0]["lr"] = rate
        for parameters in (ours, theirs):
            sum(p.square().sin().sum() for p in parameters).backward()
        optimiser.step(rate)
        expected.step()
        optimiser.clear_gradients()
        expected.zero_grad()
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad is None
        torch.testing.assert_close(a, b)


def test_a_parameter_without_gradient_does_not_even_decay():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimiser = Adam([used, unused], Training(epochs=1, weight_decay=0.5))
    used.sum().backward()
    optimiser.step(0.1)
    assert not torch.equal(used, torch.ones(2))
    assert torch.equal(unused, torch.ones(2))
