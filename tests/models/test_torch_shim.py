import copy
import pickle
from functools import partial

import numpy as np
import pytest
import srsly
import torch
from forked import ends_in_a_fork, needs_fork
from samarkand.models.torch_shim import TorchShim, load_weights, run_torch, torch_model
from thinc.api import Adam, ArgsKwargs, Linear, Model, chain
from torch import nn

X = np.random.default_rng(0).normal(size=(5, 3)).astype("f")


class Affine(nn.Module):
    """Scale, then a linear layer: a network whose sizes come from a config."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.scale = nn.Parameter(nn.init.trunc_normal_(torch.empty(n_in), mean=1.0, std=0.1, a=0.8, b=1.2))
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, x, *, twice=False):
        y = self.linear(x * self.scale)
        return 2 * y if twice else y


def build(config):
    return Affine(config["nI"], config["nO"])


def build_frozen(config):
    return build(config).requires_grad_(False)


def make(seed=0, config=None, build=build):
    torch.manual_seed(seed)
    shim = TorchShim(None, build=build)
    shim.build(config or {"nI": 3, "nO": 2})
    return shim


def predict(shim):
    (y,), _ = run_torch(shim, [X], {}, False)
    return y


def forward(model, x, is_train):
    (y,), backprop = run_torch(model.shims[0], [x], {}, is_train)
    return y, partial(first_of, backprop)


def first_of(backprop, dy):
    return backprop([dy])[0]


def init(model, X=None, Y=None):
    model.shims[0].build({"nI": model.get_dim("nI"), "nO": Y.shape[1]})
    model.set_dim("nO", Y.shape[1])


def make_head():
    return torch_model(None, name="head", forward=forward, init=init, build=build, dims={"nI": 3, "nO": None})


def test_run_torch_agrees_with_torch():
    shim = make()
    dy = np.ones((5, 2), dtype="f")
    (y,), backprop = run_torch(shim, [X], {"twice": True}, True)
    (dx,) = backprop([dy])
    leaf = torch.tensor(X, requires_grad=True)
    reference = copy.deepcopy(shim.module)
    reference.zero_grad()
    expected = reference(leaf, twice=True)
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-6)
    for own, other in zip(shim.module.parameters(), reference.parameters()):
        torch.testing.assert_close(own.grad, other.grad)


def test_arrays_are_shared_not_copied():
    seen = []
    shim = make()
    shim.module.register_forward_hook(lambda _, args, output: seen.extend([args[0], output]))
    (y,), _ = run_torch(shim, [X], {}, True)
    assert seen[0].data_ptr() == X.__array_interface__["data"][0]
    assert seen[1].data_ptr() == y.__array_interface__["data"][0]


def test_training_mode_follows_the_call():
    shim = make()
    predict(shim)
    assert not shim.module.training
    run_torch(shim, [X], {}, True)
    assert shim.module.training


def test_inputs_without_gradient_get_zeros():
    shim = make(build=build_frozen)
    (y,), backprop = run_torch(shim, [X], {}, True)
    assert backprop([np.ones_like(y)])[0].any()
    assert all(p.grad is None for p in shim.module.parameters())
    _, backprop = run_torch(shim, [X], {}, True)
    assert not backprop([None])[0].any()


def test_update_equals_thinc():
    """The same linear layer in thinc and in torch, stepped by the same optimizer."""
    torch.manual_seed(1)
    module = nn.Linear(3, 2)
    mirror = Linear(2, 3).initialize()
    mirror.set_param("W", module.weight.detach().numpy().copy())
    mirror.set_param("b", module.bias.detach().numpy().copy())
    model = torch_model(module, name="linear", forward=forward)
    for network, optimizer in ((mirror, Adam(0.1)), (model, Adam(0.1))):
        for _ in range(3):
            y, backprop = network.begin_update(X)
            backprop(y - 1)
            network.finish_update(optimizer)
    np.testing.assert_allclose(module.weight.detach().numpy(), mirror.get_param("W"), rtol=1e-5)
    assert all(p.grad is None for p in module.parameters())


def test_optimizers_that_step_whole_networks_get_them():
    calls = []

    class Whole:
        def step_torch(self, shim_id, module):
            calls.append((shim_id, module, module.linear.bias.grad.clone()))

    shim, optimizer = make(), Whole()
    (y,), backprop = run_torch(shim, [X], {}, True)
    backprop([np.ones_like(y)])
    shim.finish_update(optimizer)
    ((shim_id, module, grad),) = calls
    assert (shim_id, module) == (shim.id, shim.module)
    assert grad.tolist() == [5, 5]
    assert shim.module.linear.bias.grad is None


def test_parameters_without_gradient_are_left_alone():
    shim = make()
    shim.module.scale.requires_grad_(False)
    before = shim.module.scale.clone()
    (y,), backprop = run_torch(shim, [X], {}, True)
    backprop([np.ones_like(y)])
    shim.finish_update(Adam(0.1, L2=0.5))
    assert torch.equal(shim.module.scale, before)


def test_averages_are_held_for_a_while():
    shim, optimizer = make(), Adam(0.1, use_averages=True)
    for _ in range(3):
        (y,), backprop = run_torch(shim, [X], {}, True)
        backprop([np.ones_like(y)])
        shim.finish_update(optimizer)
    trained = predict(shim)
    with shim.use_params(optimizer.averages):
        averaged = predict(shim)
        for name, parameter in shim.module.named_parameters():
            average = optimizer.averages[(shim.id, f"torch.{name}")]
            np.testing.assert_array_equal(parameter.detach().numpy(), average)
    assert not np.allclose(averaged, trained)
    np.testing.assert_array_equal(predict(shim), trained)


def test_loaded_weights_are_in_the_network():
    """A release of thinc dropped the line that puts them there, and its round-trip test could not notice."""
    saved, fresh = make(0), make(1)
    assert not np.allclose(predict(fresh), predict(saved))
    fresh.from_bytes(saved.to_bytes())
    np.testing.assert_array_equal(predict(fresh), predict(saved))


@pytest.mark.parametrize("config", [None, {"nI": 4, "nO": 7}])
def test_network_of_other_or_no_size_is_rebuilt(config):
    saved, other = make(0), TorchShim(None, build=build)
    if config:
        other.build(config)
    other.from_bytes(saved.to_bytes())
    np.testing.assert_array_equal(predict(other), predict(saved))
    assert other.cfg == saved.cfg


def test_rebuilding_draws_no_random_numbers():
    saved, other = make(0), TorchShim(None, build=build)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    other.from_bytes(saved.to_bytes())
    assert torch.equal(torch.rand(4), expected)


def test_bytes_that_do_not_fit_change_nothing():
    shim, other = make(0), TorchShim(nn.Linear(3, 2), {"nI": 7, "nO": 2})
    before = predict(shim)
    with pytest.raises(ValueError, match="S321"):
        shim.from_bytes(other.to_bytes())
    np.testing.assert_array_equal(predict(shim), before)
    assert shim.cfg == {"nI": 3, "nO": 2}


def test_network_of_the_same_size_is_kept():
    saved, other = make(0), make(1)
    module = other.module
    assert other.from_bytes(saved.to_bytes()).module is module


def test_bytes_hold_no_pickle():
    msg = srsly.msgpack_loads(make().to_bytes())
    assert msg["config"] == {"nI": 3, "nO": 2}
    size = int.from_bytes(msg["state"][:8], "little")
    header = srsly.json_loads(msg["state"][8 : 8 + size])
    assert {"scale", "linear.weight", "linear.bias"} <= header.keys()


def test_tied_weights_round_trip():
    def tied():
        module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        module[1].weight = module[0].weight
        return TorchShim(module)

    saved, fresh = tied(), tied()
    fresh.from_bytes(saved.to_bytes())
    np.testing.assert_array_equal(predict(fresh), predict(saved))
    assert fresh.module[1].weight is fresh.module[0].weight


def test_thinc_model_whose_size_is_known_at_load():
    """What spaCy does: from_bytes on a model that was built from a config and never initialised."""
    torch.manual_seed(0)
    head = make_head().initialize(Y=np.zeros((5, 4), dtype="f"))
    model = chain(Linear(3, 3).initialize(), head)
    fresh = chain(Linear(3, 3).initialize(), make_head())
    fresh.from_bytes(model.to_bytes())
    np.testing.assert_array_equal(fresh.predict(X), model.predict(X))
    assert fresh.layers[1].get_dim("nO") == 4


def test_model_that_was_never_built_round_trips():
    fresh = make_head().from_bytes(make_head().to_bytes())
    assert not fresh.shims[0].is_built
    fresh.finish_update(Adam(0.1))
    with fresh.use_params({}):
        pass


@pytest.mark.parametrize("duplicate", [copy.deepcopy, TorchShim.copy])
def test_copies_are_apart(duplicate):
    shim = make()
    other = duplicate(shim)
    before = predict(shim)
    np.testing.assert_array_equal(predict(other), before)
    with torch.no_grad():
        other.module.scale.fill_(0)
    np.testing.assert_array_equal(predict(shim), before)
    assert other.id != shim.id


def test_copy_of_a_thinc_model_predicts_the_same():
    model = torch_model(nn.Linear(3, 2), name="linear", forward=forward)
    assert isinstance(model.copy(), Model)
    np.testing.assert_array_equal(model.copy().predict(X), model.predict(X))


@pytest.mark.parametrize("shim", [make(), TorchShim(nn.Linear(3, 2))], ids=["with build", "without"])
def test_pickle_round_trip(shim):
    np.testing.assert_array_equal(predict(pickle.loads(pickle.dumps(shim))), predict(shim))


def test_pickle_leaves_weights_out_of_shared_memory():
    shim = make()
    from multiprocessing.reduction import ForkingPickler

    ForkingPickler.dumps(shim)
    assert not any(p.is_shared() for p in shim.module.parameters())


@pytest.mark.gpu
def test_to_device_moves_all_parameters():
    shim = make()
    expected = predict(shim)
    shim.to_device("gpu", 0)
    assert {p.device.type for p in shim.module.parameters()} == {"cuda"}
    y = shim.predict(ArgsKwargs((torch.tensor(X, device="cuda"),), {}))
    np.testing.assert_allclose(y.cpu().numpy(), expected, rtol=1e-4)
    shim.to_device("cpu", -1)
    np.testing.assert_allclose(predict(shim), expected)


def test_S321_lists_what_does_not_fit():
    module = Affine(3, 2)
    weights = dict(module.state_dict())
    weights["bogus"] = weights.pop("scale")
    weights["linear.bias"] = torch.zeros(9)
    before = module.linear.weight.clone()
    weights["linear.weight"] = torch.zeros(2, 3)
    message = r"\[S321\].*Affine: missing scale; unexpected bogus; other shape linear.bias \(9,\) for \(2,\)"
    with pytest.raises(ValueError, match=message):
        load_weights(module, weights)
    assert torch.equal(module.linear.weight, before)


def test_S322_network_not_built():
    with pytest.raises(ValueError, match="S322"):
        predict(TorchShim(None, build=build))


def test_S323_no_build_function():
    saved = make()
    with pytest.raises(ValueError, match=r"\[S323\].*'nO': 2"):
        TorchShim(Affine(3, 5), {"nI": 3, "nO": 5}).from_bytes(saved.to_bytes())


TORCH_WORK = """
import torch
import samarkand.models.torch_shim

torch.set_num_threads(2)

def run():
    x = torch.ones(400, 400)
    return float((x @ x).exp_().clamp_(max=1).sum())
"""


@needs_fork
def test_forked_workers_do_not_wait_for_threads_that_are_gone():
    assert ends_in_a_fork(TORCH_WORK)
