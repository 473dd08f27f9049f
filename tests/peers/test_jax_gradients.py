"""``check_jax``: functions with a ``custom_vjp``, pytrees, and what check_grads accepts wrongly."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain.testing import CheckSettings, GradientCheckError, GradientMismatch, check_gradients
from minitrain.testing.adapters import check_jax

jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")
check_grads = pytest.importorskip("jax.test_util").check_grads

X = np.random.default_rng(0).standard_normal((3, 4))


def cube(backward, fwd=lambda x: (x**3, x)):
    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(fwd, backward)
    return cube


def test_a_right_rule_passes_and_names_its_argument():
    report = check_jax(cube(lambda x, dout: (3 * x**2 * dout,)), X)
    assert [argument.name for argument in report.arguments] == ["x"]
    assert report.worst < 1e-8
    assert not jax.config.jax_enable_x64  # as it was


def test_a_small_factor_is_found_where_check_grads_misses_it():
    wrong = cube(lambda x, dout: (3 * (1 + 2e-6) * x**2 * dout,))
    with jax.enable_x64(True):
        check_grads(wrong, (jnp.asarray(X),), order=1, modes=("rev",))
    with pytest.raises(GradientMismatch, match=r"every element is 1 times|1.000002|1.00000 times"):
        check_jax(wrong, X)


def test_a_fwd_rule_that_computes_something_else():
    with pytest.raises(
        GradientCheckError, match=r"output 0 differs by up to .* the fwd rule of its custom_vjp computes"
    ):
        check_jax(cube(lambda x, dout: (3 * x**2 * dout,), lambda x: (x**3 + 1e-6, x)), X)


def test_trees_numbers_and_integer_arrays():
    def model(params, ids, scale, *, power):
        return {"out": params["embed"][ids] @ params["w"] * scale**power, "ids": ids}

    params = {"w": np.ones((4, 2), np.float32), "embed": X}
    report = check_jax(model, params, np.array([0, 2, 0]), 0.5, power=2)
    assert [argument.name for argument in report.arguments] == ["params['embed']", "params['w']"]
    assert report.worst < 1e-8
    settings = CheckSettings(no_gradient=("params['w']",))
    assert len(check_jax(model, params, np.array([0, 2, 0]), 0.5, power=2, settings=settings).arguments) == 1


def test_check_gradients_knows_jax():
    assert check_gradients(cube(lambda x, dout: (3 * x**2 * dout,)), X).worst < 1e-8
    assert check_gradients(jnp.sin, jnp.asarray(X)).worst < 1e-8


def test_a_cast_to_single_precision_is_told():
    with pytest.raises(GradientCheckError, match="returns float32 for float64 inputs"):
        check_jax(lambda x: x.astype(jnp.float32) * 2, X)
    with pytest.raises(GradientMismatch, match="rounded to single precision"):
        check_jax(cube(lambda x, dout: ((3 * x**2 * dout).astype(jnp.float32).astype(jnp.float64),)), X)


FILE = """
import jax

@jax.custom_vjp
def cube(x):
    return x**3

cube.defvjp(lambda x: (x**3, x), lambda x, dout: (FACTOR * x**2 * dout,))
"""


@pytest.mark.parametrize(("factor", "code"), [("3", 0), ("3.001", 1)])
def test_the_command_checks_rules_of_a_file(capsys, tmp_path, factor, code):
    from minitrain import cli

    (tmp_path / "mine.py").write_text(FILE.replace("FACTOR", factor))
    assert cli.main(["gradcheck", str(tmp_path / "mine.py"), "--framework", "jax", "--examples", "3"]) == code
    assert ("every element is 1.00033 times" in capsys.readouterr().out) == (code == 1)
