"""What to do: every choice that changes the answer. Frozen, and TOML both ways."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from tenfold.errors import RecipeError
from tenfold.schema import Frozen


def parse_size(value: Any) -> tuple[int, int]:
    """``224``, ``"224"``, ``"160x320"`` or ``(160, 320)`` -> (height, width) in pixels."""
    parts = value.lower().replace(" ", "").split("x") if isinstance(value, str) else value
    if isinstance(parts, int) and not isinstance(parts, bool):
        parts = (parts,)
    if not isinstance(parts, (list, tuple)) or not 1 <= len(parts) <= 2 or float in map(type, parts):
        raise ValueError("give a side such as 224, or height x width such as 160x320")
    try:
        sides = [int(part) for part in parts]
    except (TypeError, ValueError):
        raise ValueError("give a side such as 224, or height x width such as 160x320") from None
    if min(sides) < 8 or max(sides) > 8192:
        raise ValueError("a side has 8 to 8192 pixels")
    return sides[0], sides[-1]


#: What every generator, and TOML, can hold.
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Size = Annotated[tuple[int, int], BeforeValidator(parse_size)]
BatchNormGroup = int | Literal["frozen"]


def _group(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        value = int(value)
    if isinstance(value, int) and value < 2:
        raise ValueError("a BatchNorm group has at least 2 rows; or give 'frozen'")
    return value


def parse_weights(value: Any) -> Any:
    """``"disease=1,variety=0.5"`` -> ``{"disease": "1", "variety": "0.5"}``; a mapping stays as it is."""
    if not isinstance(value, str):
        return value
    pairs = [part.rpartition("=") for part in value.split(",") if part.strip()]
    if not all(equals and name.strip() for name, equals, _ in pairs):
        raise ValueError("write TARGET=WEIGHT, with commas between several")
    return {name.strip(): weight.strip() for name, _, weight in pairs}


class Recipe(Frozen):
    """Every choice of an image or table training. Fields are also the options of ``tenfold fit``."""

    refusal: ClassVar = RecipeError

    arch: str = Field("tf_efficientnet_lite0", description="timm architecture of the body")
    weights: str = Field(
        "hub", description="'hub' (timm's pretrained), 'none', or a .safetensors or .pth file"
    )
    image_size: Size = Field(
        (224, 224), description="side, or HEIGHTxWIDTH, in pixels", validate_default=True
    )
    resize: Literal["squish", "crop", "pad"] = Field("squish", description="how a picture becomes that size")
    epochs: PositiveInt = Field(12, description="passes over the training rows, all layers trained")
    frozen_epochs: int = Field(1, ge=0, description="epochs before those in which only the head is trained")
    batch_size: PositiveInt = Field(64, description="rows to one optimizer step, whatever fits the memory")
    lr: float = Field(2e-3, gt=0, description="highest learning rate of the head")
    body_lr: float = Field(0.5, ge=0, le=1, description="the body's highest rate as a part of the head's")
    layer_decay: float = Field(1.0, gt=0, le=1, description="each earlier layer's rate as a part of the next")
    warmup: float = Field(0.2, gt=0, lt=1, description="part of the steps in which the rate rises")
    weight_decay: float = Field(0.05, ge=0, description="decoupled; none on biases and norms")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="part of a label spread over all classes")
    class_weights: Literal["none", "balanced"] = Field("none", description="weigh classes by rarity")
    task_weights: Annotated[dict[str, Annotated[float, Field(ge=0)]], BeforeValidator(parse_weights)] = Field(
        default_factory=dict, description="a target's part of the loss: TARGET=WEIGHT,..."
    )
    augment: Literal["off", "light", "strong"] = Field("light", description="changes drawn per picture")
    flip: Literal["none", "horizontal", "both"] = Field("horizontal", description="mirrorings drawn")
    min_scale: float = Field(0.75, gt=0, le=1, description="smallest part of a picture that a crop keeps")
    mixup: float = Field(0.0, ge=0, description="alpha of the mixing weights; 0 is off")
    dropout: float = Field(0.2, ge=0, lt=1, description="part of the head's inputs dropped, per row")
    drop_path: float = Field(0.1, ge=0, lt=1, description="highest stochastic depth, per row")
    batchnorm_group: Annotated[BatchNormGroup, BeforeValidator(_group)] = Field(
        16, description="rows that BatchNorm averages over, or 'frozen'"
    )
    clip_norm: float = Field(1.0, ge=0, description="longest gradient of a step; 0 is off")
    ema: float = Field(0.99, ge=0, lt=1, description="decay per step of the averaged weights; 0 is off")
    views: Literal[1, 2, 4] = Field(1, description="mirrored views averaged at prediction")
    precision: Literal["auto", "float32", "float16", "bfloat16", "float64"] = Field(
        "auto", description="auto: mixed where the device gains by it, else float32"
    )
    valid: float = Field(0.2, ge=0, lt=1, description="part of the rows held out")
    seed: Seed = Field(0, description="of the split, the order, the weights and the augmentation")

    def check(self) -> None:
        """Refuse choices that contradict each other."""
        if self.views == 4 and self.flip != "both":
            raise RecipeError(
                "views = 4 predicts pictures upside down, but flip = "
                f"{self.flip!r} never showed one in training",
                fix="set flip = 'both', or views = 2",
            )
        if self.views == 2 and self.flip == "none":
            raise RecipeError(
                "views = 2 predicts mirrored pictures, but flip = 'none'",
                fix="set flip = 'horizontal', or views = 1",
            )


class FactorRecipe(Frozen):
    """Every choice of a ratings training. Fields are also options of ``tenfold fit`` for ratings.

    Where a number is None, a rule chooses it from the training rows (docs/maths.md).
    """

    refusal: ClassVar = RecipeError

    method: Literal["gibbs", "als", "sgd"] = Field("gibbs", description="how the factors are found")
    factors: PositiveInt | None = Field(None, description="latent factors of a user and of an item")
    sweeps: PositiveInt | None = Field(None, description="passes of the Gibbs sampler")
    epochs: PositiveInt | None = Field(None, description="passes of als or sgd")
    lr: float | None = Field(None, gt=0, description="learning rate of sgd")
    weight_decay: float | None = Field(None, ge=0, description="of als or sgd; gibbs samples its own")
    range: tuple[float, float] | None = Field(None, description="ends of the sigmoid of sgd")
    use_range: bool = Field(True, description="sgd: stretch a sigmoid over the range")
    use_bias: bool = Field(True, description="sgd: a bias per user and item")
    implicit: bool = Field(True, description="gibbs: learn from which items were rated, too")
    use_time: bool = Field(True, description="gibbs: learn from the time column, where there is one")
    scale: tuple[float, float] | None = Field(None, description="lowest and highest rating there can be")
    kind: Literal["auto", "explicit", "implicit"] = Field("auto", description="stars, or a log of events")
    duplicates: Literal["last", "first", "mean", "sum", "error"] | None = Field(
        None, description="what a pair that occurs twice counts as"
    )
    valid: float = Field(0.0, ge=0, lt=1, description="part of the ratings held out")
    split: Literal["auto", "random", "time", "last"] = Field("auto", description="how they are chosen")
    threads: PositiveInt = Field(2, description="part of the answer: sums depend on it in the last bits")
    seed: Seed = Field(0, description="of the split, the first factors and the sampler")
