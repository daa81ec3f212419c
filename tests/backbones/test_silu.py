"""The hand-written second derivative of SiLU."""

import pytest
import torch

from priorbench.backbones.silu import SiLU


@pytest.mark.usefixtures("double")
def test_both_derivatives_are_numerically_right():
    x = torch.linspace(-6, 6, 25, requires_grad=True)
    assert torch.autograd.gradcheck(SiLU(), (x,))
    assert torch.autograd.gradgradcheck(SiLU(), (x,))


def test_gradients_of_a_gradient_equal_those_of_torch():
    results = []
    for activation in (SiLU(), torch.nn.SiLU()):
        torch.manual_seed(0)
        x, linear = torch.randn(9, 5, requires_grad=True), torch.nn.Linear(5, 3)
        (gradient,) = torch.autograd.grad(activation(linear(x)).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
        results.append([p.grad for p in (x, *linear.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
