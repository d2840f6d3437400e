"""Ghosts: every shape and layout, no number, and a machine that is left as it was."""

from __future__ import annotations

import gc
import threading

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from tenfold.memory.fake import build_untouched, fake_device, to_fake


def ghost_of(network: nn.Module, device: str = "cuda", dtype: torch.dtype | None = None):
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    return to_fake(network, mode, device, dtype), mode


def test_a_ghost_has_every_shape_layout_and_type() -> None:
    network = timm.create_model("test_resnet").to(memory_format=torch.channels_last)
    ghost, _ = ghost_of(network)
    real = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    fake = {**dict(ghost.named_parameters()), **dict(ghost.named_buffers())}
    assert list(real) == list(fake)
    for name, tensor in real.items():
        found = fake[name]
        assert (found.shape, found.stride(), found.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)
        assert isinstance(found.data if isinstance(found, nn.Parameter) else found, FakeTensor)
        assert found.device.type == "cuda" and tensor.device.type == "cpu"


def test_floating_tensors_take_the_asked_type_and_counters_stay() -> None:
    ghost, _ = ghost_of(timm.create_model("test_resnet"), dtype=torch.float64)
    kinds = {value.dtype for value in ghost.state_dict().values()}
    assert kinds == {torch.float64, torch.int64}


def test_tied_weights_stay_tied() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    ghost, _ = ghost_of(network)
    assert ghost[0].weight is ghost[1].weight


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
def test_a_ghost_runs_where_there_is_no_card(arch: str) -> None:
    size = 160
    network = timm.create_model(arch, num_classes=7).train()
    ghost, mode = ghost_of(network)
    with fake_device(mode, "cuda", "flash"):
        images = torch.ones(2, 3, size, size, device="cuda")
        with torch.autocast("cuda", torch.float16):
            out = ghost(images)
    assert out.shape == (2, 7) and out.device.type == "cuda" and out.dtype == torch.float16


def test_the_region_leaves_everything_as_it_was() -> None:
    before = F.scaled_dot_product_attention, torch.cuda.is_bf16_supported, torch.get_rng_state()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with pytest.raises(KeyError), fake_device(mode, "cuda", "flash"):
        assert not gc.isenabled()
        torch.rand(3)
        raise KeyError
    assert gc.isenabled()
    assert F.scaled_dot_product_attention is before[0] and torch.cuda.is_bf16_supported is before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_other_threads_are_answered_as_before() -> None:
    found = []
    query = torch.rand(1, 1, 4, 8)
    with fake_device(FakeTensorMode(allow_non_fake_inputs=True), "cuda", "flash"):
        worker = threading.Thread(
            target=lambda: found.append(F.scaled_dot_product_attention(query, query, query))
        )
        worker.start()
        worker.join()
    assert torch.equal(found[0], F.scaled_dot_product_attention(query, query, query))


def test_values_out_of_bounds_are_not_drawn_again_for_ever() -> None:
    garbage = torch.full((300, 300), 100.0)
    table = torch.full((3,), 100.0)

    def build() -> nn.Module:
        nn.init.trunc_normal_(garbage, std=0.02)
        nn.init.trunc_normal_(table, std=0.02)
        return nn.Identity()

    build_untouched(build)
    assert garbage[0, 0] == 100.0 and table.abs().max() < 2
    nn.init.trunc_normal_(garbage, std=0.02)  # and outside everything is as it was
    assert garbage.abs().max() < 2


def test_an_untouched_network_leaves_the_generator_alone() -> None:
    state = torch.get_rng_state()
    network = build_untouched(lambda: nn.Sequential(nn.Linear(300, 300), nn.BatchNorm1d(300)))
    assert torch.equal(state, torch.get_rng_state())
    assert network[0].weight.shape == (300, 300)
    assert network[1].weight.tolist() == [1.0] * 300  # small tables have their values
