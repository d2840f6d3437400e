"""Fakes answered from memory: the same requests, byte by byte, as with PyTorch's own mode of fakes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from tenfold.memory import phases as module
from tenfold.memory.phases import Phases
from tenfold.memory.quick import QuickFakes
from tenfold.memory.trace import AllocationLog
from tenfold.memory.training import NetworkTraining
from tenfold.recipe import Recipe


def traced(arch: str, side: int, device: str, precision: str, optimizer: str) -> list[AllocationLog]:
    recipe = Recipe(image_size=(side, side), batchnorm_group=4, optimizer=optimizer)
    found = Phases(NetworkTraining(arch, recipe, precision=precision, classes=5, evaluated=4), device)
    return [found.micro_batch(3), found.micro_batch(8), found.batch(8), *found.updates(), found.evaluation()]


@pytest.mark.parametrize(
    ("arch", "side", "device", "precision", "optimizer"),
    [
        ("test_resnet", 32, "cuda", "bfloat16", "sgd"),
        ("test_resnet", 32, "cpu", "float32", "lamb"),
        ("test_convnext", 64, "cuda", "float16", "adamw"),
        ("test_vit", 160, "cuda", "bfloat16", "lion"),
        ("test_vit", 160, "cpu", "bfloat16", "adam"),
        ("test_efficientnet", 64, "cuda", "bfloat16", "adamw"),
    ],
)
def test_a_step_asks_for_the_same_memory(
    monkeypatch: pytest.MonkeyPatch, arch: str, side: int, device: str, precision: str, optimizer: str
) -> None:
    quick = traced(arch, side, device, precision, optimizer)
    monkeypatch.setattr(module, "QuickFakes", lambda: FakeTensorMode(allow_non_fake_inputs=True))
    assert quick == traced(arch, side, device, precision, optimizer)


def described(values: Any) -> list[object]:
    listed = values if isinstance(values, (list, tuple)) else [values]
    return [
        (each.shape, each.stride(), each.storage_offset(), each.dtype, each.device.type)
        if isinstance(each, torch.Tensor)
        else each
        for each in listed
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (4, 3, 1, 1), (1, 3, 4, 4), (6, 3), (2, 3, 2, 4, 4)])
@pytest.mark.parametrize("train", [True, False])
def test_batchnorm_of_any_layout_is_as_pytorch_says(
    dtype: torch.dtype, device: str, shape: tuple[int, ...], train: bool
) -> None:
    def answers(mode: FakeTensorMode) -> list[object]:
        found: list[object] = []
        with mode:
            plain = torch.empty(shape, dtype=dtype, device=device)
            pictures = [plain, plain.transpose(0, -1).contiguous().transpose(0, -1)]
            if len(shape) == 4:
                pictures.append(plain.contiguous(memory_format=torch.channels_last))
            weight, bias, mean, variance = (torch.ones(3, device=device) for _ in range(4))
            for picture in pictures:
                out = torch.ops.aten.native_batch_norm(
                    picture, weight, bias, mean, variance, train, 0.1, 1e-5
                )
                for gradient in (torch.empty_like(picture), plain):
                    back = torch.ops.aten.native_batch_norm_backward(
                        *(gradient, picture, weight, mean, variance, out[1], out[2]),
                        *(train, 1e-5, [True, True, False]),
                    )
                    found += [*described(out), *described(back)]
        return found

    expected = answers(FakeTensorMode())
    mode = QuickFakes()
    assert answers(mode) == expected  # worked out
    assert answers(mode) == expected  # remembered


def test_scalars_that_are_equal_are_told_apart() -> None:
    with QuickFakes():
        count = torch.empty(3, dtype=torch.int64)
        assert [(count * scalar).dtype for scalar in (1, 1.0, True, 1, 1.0)] == [
            *(torch.int64, torch.float32, torch.int64, torch.int64, torch.float32)
        ]


def test_results_share_memory_only_where_the_real_ones_do() -> None:
    with QuickFakes():
        for _ in range(2):
            base = torch.empty(4, 6)
            view, other = base[1:], base + 1
            assert view.untyped_storage()._cdata == base.untyped_storage()._cdata
            assert view.storage_offset() == 6
            assert other.untyped_storage()._cdata != base.untyped_storage()._cdata
            assert base.add_(1) is base
            parts = base.split(2)
            assert {part.untyped_storage()._cdata for part in parts} == {base.untyped_storage()._cdata}


def test_known_values_stay_known_and_follow_what_is_done_to_them() -> None:
    with QuickFakes():
        for _ in range(2):
            step = torch.tensor(0.0)
            step += 1
            step += 1
            assert isinstance(step, FakeTensor)
            assert step.item() == 2.0


def test_shapes_that_do_not_fit_are_refused_each_time() -> None:
    with QuickFakes():
        for _ in range(2):
            with pytest.raises(RuntimeError):
                torch.empty(3, 4) @ torch.empty(3, 4)
            with pytest.raises(RuntimeError):
                torch.empty(3).add_(torch.empty(2, 3))
