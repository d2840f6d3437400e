"""Backbones by name, sizes that they refuse, and weights of other projects."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from tenfold.errors import DependencyError, RecipeError, WeightsError
from tenfold.nn.encoders import (
    build_backbone,
    check_architecture,
    feature_width,
    layer_numbers,
    load_weights,
    preprocessing_of,
)

LITE_TO_TIMM = {
    "conv_pw": "_expand_conv",
    "conv_dw": "_depthwise_conv",
    "conv_pwl": "_project_conv",
}


@pytest.mark.parametrize(
    ("arch", "size", "width"),
    [("test_vit", (160, 160), 64), ("test_resnet", (64, 96), 96), ("test_convnext", (40, 40), 64)],
)
def test_width_of_features(arch: str, size: tuple[int, int], width: int) -> None:
    backbone = build_backbone(arch, image_size=size, drop_path=0.1)
    assert feature_width(backbone, arch, size) == width
    assert not any("classifier" in name or name.startswith("fc.") for name, _ in backbone.named_parameters())


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'resnet18'"):
        check_architecture("resnet_18")


def test_a_refused_size_names_the_own_one() -> None:
    with pytest.raises(RecipeError, match="refuses 33x33 pixels"):
        backbone = build_backbone("test_vit", image_size=(33, 33))
        feature_width(backbone, "test_vit", (33, 33))


def test_preprocessing_belongs_to_the_backbone() -> None:
    assert preprocessing_of("resnet18").mean == (0.485, 0.456, 0.406)
    assert preprocessing_of("vit_base_patch16_224").mean == (0.5, 0.5, 0.5)
    assert preprocessing_of("tf_efficientnet_lite0").std == (0.5, 0.5, 0.5)


def test_layers_are_numbered_from_the_picture() -> None:
    backbone = build_backbone("test_vit", image_size=(160, 160))
    numbers = layer_numbers(backbone)
    assert set(numbers) == {name for name, _ in backbone.named_parameters()}
    assert (
        numbers["patch_embed.proj.weight"]
        < numbers["blocks.0.norm1.weight"]
        < numbers["blocks.5.norm1.weight"]
    )


def test_weights_of_the_same_network_load_and_the_classifier_is_left_out() -> None:
    whole = timm.create_model("test_resnet", num_classes=7)
    backbone = build_backbone("test_resnet", image_size=(64, 64))
    for prefix in ("", "module.", "model."):
        load_weights(backbone, {prefix + key: value for key, value in whole.state_dict().items()}, "w.pth")
        assert torch.equal(backbone.conv1[0].weight, whole.conv1[0].weight)


def test_a_mismatch_names_the_keys() -> None:
    backbone = build_backbone("test_resnet", image_size=(64, 64))
    state = dict(timm.create_model("test_resnet").state_dict())
    lost = next(iter(state))
    del state[lost]
    with pytest.raises(WeightsError, match=f"{lost}: not in the file"):
        load_weights(backbone, state, "w.pth")
    with pytest.raises(WeightsError, match="does not fit"):
        load_weights(backbone, timm.create_model("test_vit").state_dict(), "w.pth")


@pytest.mark.parametrize("variant", [0, 1, 2, 3, 4])
def test_names_of_efficientnet_lite_are_translated(variant: int) -> None:
    """Rename timm's own keys the way that project names them, and find every one again."""
    arch = f"tf_efficientnet_lite{variant}"
    original = timm.create_model(arch)
    flat, number = {}, 0
    for stage, blocks in enumerate(original.blocks):
        for position, block in enumerate(blocks):
            flat[f"{stage}.{position}"] = (number, hasattr(block, "conv_pwl"))
            number += 1
    renamed = {}
    for key, value in original.state_dict().items():
        parts = key.split(".")
        if parts[0] == "blocks":
            number, expanded = flat[f"{parts[1]}.{parts[2]}"]
            plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
            wide = {**LITE_TO_TIMM, "bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
            name = (wide if expanded else plain)[parts[3]]
            renamed[".".join(["_blocks", str(number), name, *parts[4:]])] = value
        else:
            top = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            renamed[".".join([top.get(parts[0], "_fc"), *parts[1:]])] = value
    backbone = build_backbone(arch, image_size=(64, 64))
    notes = load_weights(backbone, renamed, "lite.pth")
    assert "translated" in notes[0]
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, original.state_dict()[key]), key


def test_the_hub_out_of_reach_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*args: object, **options: object) -> None:
        if options.get("pretrained"):
            raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(DependencyError, match="--weights none"):
        build_backbone("resnet18", image_size=(64, 64), pretrained=True)
