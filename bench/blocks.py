"""Whose blocks `--shard-weights` can split: gradients with the weights of blocks away, and with all here.

    python bench/blocks.py [ARCH ...]

One architecture of each file of timm, or those given, in float64, in one process, which plays the others:
weights come when a block asks for them, and placeholders that are no numbers stand for them otherwise. A line
to each: which part of the weights is in blocks, and the largest difference of a gradient, as a fraction of
the largest number in it, or of a millionth of that of all gradients. Left out are architectures with more
than 60 million parameters, those whose plain step differs from itself, and one that crashes in torch 2.14
without any of this (`fastvit`).
"""

from __future__ import annotations

import argparse

import timm
import torch

from tenfold.data.encode import Encoding
from tenfold.engine.gather import FIRST, SplitBlocks
from tenfold.engine.ranks import ONE_RANK
from tenfold.errors import TenfoldError
from tenfold.nn.network import Network, build_network
from tenfold.recipe import Recipe
from tenfold.schema import CategoryTarget, ImageColumn, Schema

MOST_PARAMETERS = 60e6
#: Words in names of small architectures.
SMALL = "atto test_ nano pico femto tiny _xs _s small mini 050 18 b0 _m".split()
CRASHES = ("fastvit",)


class Played(SplitBlocks):
    """Blocks whose weights another rank has, which this process plays."""

    def keep(self, network: Network) -> None:
        self.values = {id(each): each.detach().clone() for each in network.parameters()}

    def _round(self, wish: int) -> list[int]:
        number, sums = divmod(wish - FIRST, 2)
        if wish >= FIRST and not sums:
            for parameter in self._blocks[number].parameters:
                parameter.data.copy_(self.values[id(parameter)])
        return [0]


def architectures() -> list[str]:
    """A small architecture of each file."""
    chosen = []
    for module in timm.list_modules():
        names = timm.list_models(module=module)
        small = [name for word in SMALL for name in names if word in name]
        chosen += [*small, *names][:1]
    return [name for name in chosen if not name.startswith(CRASHES)]


def compare(arch: str) -> str:
    """What is to be said of an architecture."""
    with torch.device("meta"):
        count = sum(each.numel() for each in timm.create_model(arch).parameters())
    if count > MOST_PARAMETERS:
        return "too large"
    config = timm.get_pretrained_cfg(arch)
    side = config.input_size[-1] if config and config.fixed_input_size else 128
    recipe = Recipe(arch=arch, weights="none", image_size=(side, side), batchnorm_group=2, drop_path=0.1)
    schema = Schema(inputs=(ImageColumn(name="image", folder="."),), targets=(CategoryTarget(name="target"),))
    encoding = Encoding(classes={"target": ("a", "b", "c")}, image_size=recipe.image_size)
    network, _ = build_network(encoding, schema, recipe, fetch=False)
    network.train().double()
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        network.last.weight.normal_(0, 0.1, generator=drawn)
    pictures = torch.randn(2, 3, side, side, generator=drawn, dtype=torch.float64)

    def gradients() -> list[torch.Tensor | None]:
        network.zero_grad(set_to_none=True)
        network.context.begin(0, torch.tensor([3, 4]), (2,))
        outputs = network({"image0": pictures})
        network.context.end_forward()
        network.context.discard_statistics()
        sum(each.square().sum() for each in outputs).backward()
        return [each.grad for each in network.parameters()]

    plain = gradients()
    if difference(plain, gradients()) > 1e-6:
        return "its plain step differs from itself"
    names = dict(network.named_parameters(remove_duplicate=False))
    blocks = Played(network, ONE_RANK, dict.fromkeys(names, 1))
    blocks.keep(network)
    inside = {id(names[name]): names[name].numel() for name in blocks.names}
    blocks.begin(torch.device("cpu"), torch.float64)
    with blocks.reachable():
        found = difference(plain, gradients())
    share = sum(inside.values()) / sum(each.numel() for each in network.parameters())
    return f"{share:4.0%} of the weights, {found:.1e}"


def difference(one: list[torch.Tensor | None], other: list[torch.Tensor | None]) -> float:
    """See the module. Infinite where only one of two is there."""
    top = max(float(each.abs().max()) for each in one if each is not None)
    worst = 0.0
    for left, right in zip(one, other, strict=True):
        if left is None or right is None:
            worst = worst if left is right else float("inf")
        else:
            worst = max(worst, float((left - right).abs().max() / (left.abs().max() + 1e-6 * top)))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archs", nargs="*")
    torch.set_num_threads(1)
    for arch in parser.parse_args().archs or architectures():
        try:
            said = compare(arch)
        except TenfoldError as error:
            said = error.headline
        print(f"{arch:<32} {said}", flush=True)


if __name__ == "__main__":
    main()
