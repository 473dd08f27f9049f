"""``check_torch``: what it sees of an ``autograd.Function`` and a module, some of which gradcheck does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minitrain.testing import CheckSettings, GradientCheckError, GradientMismatch, check_gradients
from minitrain.testing.adapters import check_torch

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def function(backward, forward=lambda x: x**3, context=lambda x: (x,)):
    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(*context(x))
            return forward(x)

        @staticmethod
        def backward(ctx, dout):
            return backward(dout, *ctx.saved_tensors)

    return Function


def test_a_right_function_passes_and_names_its_argument():
    report = check_torch(function(lambda dout, x: 3 * x**2 * dout), X)
    assert [argument.name for argument in report.arguments] == ["x"]
    assert report.worst < 1e-8


def test_a_small_factor_is_found_where_gradcheck_misses_it():
    wrong = function(lambda dout, x: 3 * (1 + 1e-5) * x**2 * dout)
    assert torch.autograd.gradcheck(wrong.apply, (X.double().requires_grad_(),))
    with pytest.raises(GradientMismatch, match=r"every element is 1\.00001 times"):
        check_torch(wrong, X)


def test_check_gradients_knows_functions_and_modules():
    assert check_gradients(function(lambda dout, x: 3 * x**2 * dout), X).worst < 1e-8
    assert len(check_gradients(torch.nn.Linear(4, 2), X).arguments) == 3
    assert check_gradients(lambda x: x.sin(), X).worst < 1e-8  # a plain function of tensors


def test_what_is_written_in_place_is_seen():
    def clamp(x):
        x.clamp_(min=0.1)
        return x * x

    with pytest.raises(GradientCheckError, match="the forward must not write to its inputs"):
        check_torch(function(lambda dout, x: 2 * x * dout, clamp), X)
    with pytest.raises(GradientCheckError, match="must not write to the gradients of the outputs"):
        check_torch(function(lambda dout, x: dout.mul_(3 * x**2)), X)
    with pytest.raises(
        GradientCheckError, match=r"write to its cache: it changed 12 of 12 elements of cache.saved\[0\]"
    ):
        square = function(lambda dout, y: y.mul_(2 * dout), lambda x: x * x, lambda x: (x.clone(),))
        check_torch(square, X)


def test_integer_inputs_and_outputs_and_undefined_gradients():
    class Lookup(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight, ids, unused):
            ctx.save_for_backward(ids)
            ctx.rows = len(weight)
            counts = torch.bincount(ids, minlength=len(weight))
            ctx.mark_non_differentiable(counts)
            return weight[ids], counts

        @staticmethod
        def backward(ctx, dout, _):
            (ids,) = ctx.saved_tensors
            return torch.zeros(ctx.rows, dout.shape[1], dtype=dout.dtype).index_add_(0, ids, dout), None, None

    report = check_torch(Lookup, X, torch.tensor([0, 2, 0]), torch.ones(2))
    assert [argument.name for argument in report.arguments] == ["weight", "unused"]
    settings = CheckSettings(no_gradient=("unused",))
    assert len(check_torch(Lookup, X, torch.tensor([0, 2, 0]), torch.ones(2), settings=settings).arguments) == 1


def test_a_forgotten_input_is_a_missing_term():
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(y)
            return x * y

        @staticmethod
        def backward(ctx, dout):
            return dout * ctx.saved_tensors[0], None

    with pytest.raises(GradientMismatch, match="the gradient is zero everywhere: a missing term") as error:
        check_torch(Product, X, X + 1)
    assert error.value.worst.name == "y"


def test_a_module_in_training_mode_with_dropout_and_batch_norm():
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.GELU(), torch.nn.Dropout(0.3), torch.nn.Linear(6, 2)
    )
    state = torch.random.get_rng_state()
    before = net[1].running_mean.clone()
    report = check_torch(net, torch.randn(5, 4, generator=torch.Generator().manual_seed(2)))
    assert {argument.name for argument in report.arguments} == {
        "input", "0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"
    }  # fmt: skip
    assert report.worst < 1e-6
    assert next(net.parameters()).dtype == torch.float32
    assert torch.equal(net[1].running_mean, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_module_with_a_wrong_function_inside():
    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4))
            self.frozen = torch.nn.Parameter(torch.ones(4), requires_grad=False)

        def forward(self, x, *, scale):
            return function(lambda dout, x: 2 * x**2 * dout).apply(x * self.weight + self.frozen) * scale

    with pytest.raises(GradientMismatch) as error:
        check_torch(Layer(), X, scale=2.0)
    assert {mismatch.name for mismatch in error.value.mismatches} == {"x", "weight"}


def test_outputs_in_a_dictionary_and_none_that_require_a_gradient():
    assert check_torch(lambda x: {"a": x.sin(), "b": [x.cos(), x.detach()]}, X).worst < 1e-8
    with pytest.raises(GradientCheckError, match=r"none of the 1 outputs requires a gradient: is there a detach\(\)"):
        check_torch(lambda x: x.detach().sin(), X)


def test_numpy_arrays_and_half_precision_are_taken():
    assert check_torch(lambda x, k: (x * k).sin(), X.numpy(), 3).worst < 1e-8
    assert check_torch(lambda x: x.sin(), X.bfloat16()).worst < 1e-8


@pytest.mark.parametrize("seed", range(5))
def test_torch_own_operations_are_right(seed):
    settings = CheckSettings(seed=seed)
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((4, 6)))
    for operation in (torch.nn.functional.gelu, torch.softmax, torch.nn.functional.layer_norm):
        extra = {"dim": -1} if operation is torch.softmax else {}
        extra = {"normalized_shape": (6,)} if operation is torch.nn.functional.layer_norm else extra
        assert check_torch(operation, x, settings=settings, **extra).worst < 1e-6


FILE = """
import torch

class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, dout):
        (x,) = ctx.saved_tensors
        return FACTOR * x**2 * dout

net = torch.nn.Linear(3, 2)
GRADCHECK = {"net": "input: B 3"}
"""


@pytest.mark.parametrize(("factor", "code"), [("3", 0), ("3.001", 1)])
def test_the_command_checks_functions_and_modules_of_a_file(capsys, tmp_path, factor, code):
    from minitrain import cli

    (tmp_path / "mine.py").write_text(FILE.replace("FACTOR", factor))
    assert cli.main(["gradcheck", str(tmp_path / "mine.py"), "--framework", "torch", "--examples", "4"]) == code
    out = capsys.readouterr().out
    assert ("every element is 1.00033 times" in out) == (code == 1)
    assert "net " in out
    assert "input, weight, bias" in out
