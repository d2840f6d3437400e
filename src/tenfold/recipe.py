"""What to do: every choice that changes the answer. Frozen, and TOML both ways."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from tenfold.errors import RecipeError, did_you_mean
from tenfold.schema import Frozen, Schema


def parse_size(value: object) -> tuple[int, int]:
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


def _group(value: object) -> object:
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        value = int(value)
    if isinstance(value, int) and value < 2:
        raise ValueError("a BatchNorm group has at least 2 rows; or give 'frozen'")
    return value


def parse_layers(value: object) -> object:
    """``"128,64"`` -> ``("128", "64")``; an empty text gives no layers; anything else stays as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.replace("x", ",").split(",") if part.strip())
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


def parse_weights(value: object) -> object:
    """``"disease=1,variety=0.5"`` -> ``{"disease": "1", "variety": "0.5"}``; ``"equal"`` -> ``{}``.

    A mapping and the word ``learned`` stay as they are.
    """
    if not isinstance(value, str) or value.strip() in ("learned", "equal", ""):
        return value if not isinstance(value, str) else value.strip().replace("equal", "") or {}
    pairs = [part.rpartition("=") for part in value.split(",") if part.strip()]
    if not all(equals and name.strip() for name, equals, _ in pairs):
        raise ValueError("write TARGET=WEIGHT, with commas between several")
    return {name.strip(): weight.strip() for name, _, weight in pairs}


def parse_class_weights(value: object) -> object:
    """``"disease:healthy=1,rust=3;variety:balanced"`` -> target -> class -> weight, or ``balanced``.

    With a single target its name and the colon may be left out: the key is then the empty text.
    """
    if not isinstance(value, str) or value.strip() in ("none", "balanced", ""):
        return value if not isinstance(value, str) else value.strip() or "none"
    weights: dict[str, object] = {}
    for part in value.split(";"):
        target, colon, given = part.partition(":")
        target, given = (target.strip(), given.strip()) if colon else ("", part.strip())
        if not given or ("=" not in given and given != "balanced"):
            raise ValueError("write none, balanced, or TARGET:CLASS=WEIGHT,...;TARGET:balanced")
        weights[target] = own = given if given == "balanced" else parse_weights(given)
        for name, weight in own.items() if isinstance(own, dict) else ():
            if not re.fullmatch(r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?", weight):
                raise ValueError(f"the weight of {name!r} is {weight!r}: give a number of 0 or more")
    return weights


def parse_fold(value: object) -> tuple[int, int] | None:
    """``"2/5"`` or ``(2, 5)`` -> (2, 5): the second of five parts."""
    if value is None:
        return None
    parts = value.split("/") if isinstance(value, str) else value
    try:
        fold, folds = (int(str(part)) for part in (parts if isinstance(parts, list | tuple) else ()))
    except ValueError:
        raise ValueError("write K/N, for example 2/5") from None
    if folds < 2 or not 1 <= fold <= folds:
        raise ValueError("N is 2 or more, and K from 1 to N")
    return fold, folds


Fold = Annotated[tuple[int, int] | None, BeforeValidator(parse_fold)]
AboveZero = Annotated[float, Field(ge=0)]
Value = TypeVar("Value")


def choice(default: Value, description: str | None = None, **limits: float) -> Value:
    """A field of a recipe, with its help text; limits: ``ge``, ``gt``, ``le``, ``lt`` of pydantic."""
    return Field(default, description=description, **limits)  # pyright: ignore[reportCallIssue, reportArgumentType]


class Part(Frozen):
    """Some choices of a recipe; a recipe has the parts that its training uses."""

    refusal: ClassVar = RecipeError
    #: How ratings are learned: ``factors`` or ``network``; "" for what learns pictures and tables.
    of_ratings: ClassVar[str] = ""

    def check(self) -> None:
        """Check choices that belong together; nothing here."""


#: Defaults that depend on the optimizer.
OPTIMIZER_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    # Kingma and Ba 2015, arXiv 1412.6980: no decay, which would act through the gradient.
    "adam": {"weight_decay": 0.0},
    # 0.1 for 256 rows, scaled to 64 rows: Goyal et al. 2017, arXiv 1706.02677.
    "sgd": {"lr": 0.025, "weight_decay": 1e-4},
    # Decay of Wightman, Touvron and Jegou 2021, arXiv 2110.00476, table 2.
    "lamb": {"weight_decay": 0.02},
    # A tenth of AdamW's rate and ten times its decay: Chen et al. 2023, arXiv 2302.06675, section 5.
    "lion": {"lr": 2e-4, "weight_decay": 0.5},
}


class Training(Part):
    """How a network is trained."""

    epochs: PositiveInt = choice(12, "passes over the training rows, all layers trained")
    batch_size: PositiveInt = choice(
        64, "rows per optimizer step, whatever fits into memory; smaller by default where steps are few"
    )
    lr: float = choice(
        2e-3, "highest learning rate of the head; from a fitted one 1e-3, less where steps are few", gt=0
    )
    weight_decay: float = choice(0.05, "none on biases and norms", ge=0)
    optimizer: Literal["adamw", "adam", "sgd", "lamb", "lion"] = choice(
        "adamw", "of a network; each has its own defaults of --lr and --weight-decay"
    )
    momentum: float = choice(0.9, "of sgd, in Nesterov's form; 0 is off", ge=0, lt=1)
    valid: float = choice(0.2, "fraction of the rows held out for validation", ge=0, lt=1)
    fold: Fold = choice(None, "hold out the K-th of N equal parts, K from 1")
    seed: Seed = choice(0, "of the split, the order, the weights and the augmentation")
    split_seed: Seed | None = choice(None, "of the split alone [seed]")
    patience: int = choice(0, "stop after so many epochs without a gain; 0 is off", ge=0)
    keep: Literal["auto", "last", "best"] = choice(
        "auto", "epoch whose weights are kept; auto: best with patience, else last"
    )
    monitor: str = choice("mean", "score that has to improve: the mean of all targets, or a target's")
    precision: Literal["auto", "float32", "float16", "bfloat16", "float64"] = choice(
        "auto", "auto: mixed precision where the device gains by it, else float32"
    )
    ema: float = choice(0.99, "decay per step of the averaged weights; 0 is off", ge=0, lt=1)
    warmup: float = choice(0.2, "fraction of the steps in which the rate rises", gt=0, lt=1)
    clip_norm: float = choice(1.0, "largest gradient norm of a step; 0 is off", ge=0)
    frozen_epochs: int = choice(1, "first epochs, in which only the head is trained", ge=0)
    task_weights: Annotated[Literal["learned"] | dict[str, AboveZero], BeforeValidator(parse_weights)] = (
        Field(default_factory=dict, description="weights of the targets' losses: equal, learned, or given")
    )
    number_loss: Literal["squared", "huber"] = choice("squared", "loss of number targets")

    def __init__(self, /, **values: object) -> None:
        super().__init__(**{**OPTIMIZER_DEFAULTS.get(str(values.get("optimizer")), {}), **values})

    @model_serializer(mode="wrap")
    def _without_adamw(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        # Files and identities of adamw stay as they were before there was a choice of optimizers.
        values = dump(self)
        if self.optimizer == "adamw":
            values.pop("optimizer", None)
        if self.optimizer != "sgd":
            values.pop("momentum", None)
        for name in ("fit_head", "start", "teacher", "extra"):
            if not values.get(name):
                values.pop(name, None)
        return values

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the best epoch are kept instead of the last."""
        return self.keep == "best" or (self.keep == "auto" and self.patience > 0)


class Body(Part):
    """What stands between a network's inputs and its outputs."""

    body: Literal["auto", "linear", "mlp", "dot"] = choice(
        "auto", "layers between features and outputs; auto: linear for images alone, else mlp"
    )
    hidden: Annotated[tuple[PositiveInt, ...], BeforeValidator(parse_layers)] = choice(
        (128, 64), "widths of the MLP's layers"
    )
    embedding: PositiveInt | None = choice(None, "width of embeddings")
    dropout: float = choice(0.2, "of the head's inputs, per row", ge=0, lt=1)
    body_dropout: float = choice(0.2, "of each MLP layer, per row", ge=0, lt=1)
    unknown_rate: float = choice(
        0.02, "fraction of known ids and categories shown as unknown in training", ge=0, lt=1
    )


def _folder_of(run: object) -> object:
    """The folder of a run, for the path of its weights."""
    if not isinstance(run, str | os.PathLike):
        return run
    path = os.fspath(run)
    return os.path.dirname(path) or "." if os.path.basename(path) == "weights.safetensors" else path


class Images(Part):
    """The backbone, and the pictures that it sees."""

    arch: str = choice("tf_efficientnet_lite0", "timm architecture of the backbone")
    weights: str = choice(
        "hub", "hub (timm's pretrained), package (an installed one), none, or a .safetensors or .pth file"
    )
    image_size: Size = choice((224, 224), "in pixels, or one side", validate_default=True)
    resize: Literal["squish", "crop", "pad"] = choice("squish", "how a picture gets that size")
    item_size: Size | None = choice(
        None, "larger size to load pictures at, which random crops are cut from [image size]"
    )
    augment: Literal["off", "light", "strong"] = choice("light", "random changes per picture")
    flip: Literal["none", "horizontal", "both"] = choice("horizontal", "random mirroring")
    min_scale: float = choice(0.75, "smallest fraction that a random crop keeps", gt=0, le=1)
    mixup: float = choice(0.0, "alpha of the mixing weights; 0 is off", ge=0)
    tta: int = choice(0, "test-time augmentation: random views, averaged with the plain one", ge=0, le=256)
    views: Literal[1, 2, 4] = choice(1, "test-time augmentation: mirrored views, averaged")
    plain_weight: float = choice(0.25, "of the plain view in the average of --tta", ge=0, le=1)
    body_lr: float = choice(0.5, "highest rate of the backbone / that of the head", ge=0, le=1)
    layer_decay: float = choice(1.0, "rate of a layer / that of the next one", gt=0, le=1)
    fit_head: bool | None = choice(
        None, "fit the last layer to frozen features first [pictures alone with pretrained weights]"
    )
    drop_path: float = choice(0.1, "highest stochastic depth, per row", ge=0, lt=1)
    batchnorm_group: Annotated[BatchNormGroup, BeforeValidator(_group)] = choice(
        16, "rows that BatchNorm averages over, or frozen: so from a fitted head"
    )
    start: Annotated[str, BeforeValidator(_folder_of)] = choice(
        "", "finished run to start from, instead of weights"
    )
    teacher: str = choice("", "finished run of pictures whose answers are learned, in place of the labels")
    extra: str = choice(
        "",
        "folder of pictures without labels to learn from, too: by the teacher's answers, or those of a "
        "training on the labels alone",
    )


class Labels(Part):
    """What is made of labels: choices of targets that have classes."""

    label_smoothing: float = choice(0.1, "fraction of a label spread over all classes", ge=0, lt=1)
    class_weights: Annotated[
        Literal["none", "balanced"] | dict[str, Literal["balanced"] | dict[str, AboveZero]],
        BeforeValidator(parse_class_weights),
    ] = choice("none", "none, balanced (by rarity), or TARGET:CLASS=WEIGHT,...;...")
    calibrate_probabilities: bool = choice(False, "fit a temperature on the validation rows")
    familiarity: bool = choice(True, "open targets: detect rows out of distribution")


class Recipe(Labels, Training, Body, Images):
    """Every choice of an image or table training. Fields are also the options of ``tenfold fit``."""

    @property
    def words(self) -> list[str]:
        """What tells it from others, for a name."""
        sizes = [self.image_size] if self.item_size is None else [self.item_size, self.image_size]
        shown = [str(high) if high == wide else f"{high}x{wide}" for high, wide in sizes]
        return [self.arch, self.resize, *shown]

    def body_for(self, schema: Schema) -> str:
        """``linear``, ``mlp`` or ``dot``: ``auto`` is linear for pictures alone, else mlp."""
        return self.body if self.body != "auto" else "mlp" if schema.columns else "linear"

    def check(self) -> None:
        """Refuse choices that contradict each other."""
        if self.optimizer != "sgd" and self.momentum != type(self).model_fields["momentum"].default:
            raise RecipeError(
                f"momentum = {self.momentum:g} belongs to sgd, and the optimizer is {self.optimizer}",
                fix="set optimizer = 'sgd', or leave momentum out",
            )
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
        if self.tta and self.views > 1:
            raise RecipeError(
                f"views = {self.views} and tta = {self.tta} exclude each other: mirrored or augmented",
                fix="set one of them",
            )
        if self.tta and self.augment == "off" and self.flip == "none":
            raise RecipeError(
                f"tta = {self.tta} draws views as training draws them, and with augment = 'off' and "
                "flip = 'none' nothing is drawn",
                fix="set augment = 'light', or tta = 0",
            )


#: Defaults for a table without pictures: many epochs of small steps, which a small network needs and a small
#: table can afford, and no epochs of the head alone.
TABLE_DEFAULTS: Mapping[str, float] = {
    "epochs": 40,
    "frozen_epochs": 0,
    "weight_decay": 0.1,
    "label_smoothing": 0.05,
}


def with_defaults_for(recipe: Recipe, schema: Schema) -> Recipe:
    """The recipe with the defaults of its kind of input: `TABLE_DEFAULTS` where there are no pictures.

    Raises RecipeError for choices that these inputs do not allow.
    """
    if schema.columns and recipe.mixup:
        raise RecipeError(
            f"mixup = {recipe.mixup:g} mixes pictures, and these inputs have no mixture",
            found=", ".join(f"{column.name} ({column.kind})" for column in schema.columns),
            fix="set mixup = 0",
        )
    if schema.images or not schema.columns:
        return _with_fitted_head(recipe, schema)
    if "weights" in recipe.model_fields_set and recipe.weights not in ("hub", "none"):
        raise RecipeError(
            f"weights = {recipe.weights!r} are of a backbone, and there are no pictures", fix="leave it out"
        )
    mine = {name: value for name, value in TABLE_DEFAULTS.items() if name not in recipe.model_fields_set}
    return recipe.model_copy(update=mine)


#: Choices of a training that starts from a finished run, whose layers are all trained already.
START_DEFAULTS: Mapping[str, object] = {"frozen_epochs": 0, "batchnorm_group": "frozen", "lr": 1e-3}

#: Choices of a preset, by what is trained on. ``best`` is an ensemble: `ensembles.preset`.
PRESETS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "quick": {"pictures": {"epochs": 4, "image_size": 128}, "tables": {"epochs": 10}},
    "good": {"pictures": {}, "tables": {}},
}


def preset_choices(preset: str, schema: Schema) -> dict[str, object]:
    """The choices of ``quick`` or ``good`` for what a schema trains on; what is given besides goes before.

    Raises RecipeError for another name, and for ratings, whose methods need no presets.
    """
    if preset not in PRESETS:
        names = [*PRESETS, "best"]
        raise RecipeError(f"there is no preset {preset!r}", fix=did_you_mean(preset, names))
    if schema.rated:
        raise RecipeError("presets are for pictures and tables, not for ratings", fix="leave it out")
    return dict(PRESETS[preset]["pictures" if schema.images else "tables"])


def ratings_recipe(recipe: AnyRecipe) -> FactorRecipe:
    """A recipe's choices of reading and splitting ratings. RecipeError for one of pictures and tables."""
    if isinstance(recipe, Recipe):
        raise RecipeError(
            "a Recipe is for pictures and tables, and this is for ratings",
            fix="give a tenfold.FactorRecipe or a tenfold.RatingNetworkRecipe",
        )
    return recipe.ratings()


def network_recipe(recipe: AnyRecipe) -> Recipe:
    """The recipe, which is one of a network of pictures or tables. RecipeError for one of ratings."""
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"a {type(recipe).__name__} is for ratings, and this is for pictures and tables",
            fix="give a tenfold.Recipe",
        )
    return recipe


#: Optimizer steps that a batch size which is not given leaves at least, and the smallest such batch.
FEW_STEPS, SMALLEST_BATCH = 100, 16
#: Learning rate of a training from a fitted head, which takes it from so many steps on
#: (bench/results/few-epochs.md).
FITTED_RATE, FITTED_STEPS = 1e-3, 120


def with_defaults_for_rows(recipe: Recipe, rows: int) -> Recipe:
    """The recipe with the defaults of a training from a fitted head that follow from the number of its rows.

    The batch is halved, down to `SMALLEST_BATCH`, until the training has `FEW_STEPS` steps. BatchNorm stays
    frozen, as the head was fitted, and few steps are small ones: AdamW moves every weight by its rate,
    however small the gradient.
    """
    if not recipe.fit_head:
        return recipe
    given, epochs = recipe.model_fields_set, recipe.frozen_epochs + recipe.epochs
    batch = recipe.batch_size
    if "batch_size" not in given:
        while batch >= 2 * SMALLEST_BATCH and -(-rows // batch) * epochs < FEW_STEPS:
            batch //= 2
    changes: dict[str, object] = {"batch_size": batch}
    if "batchnorm_group" not in given:
        changes["batchnorm_group"] = "frozen"
    if "lr" not in given and recipe.optimizer == "adamw":
        steps = -(-rows // batch) * epochs
        changes["lr"] = float(f"{FITTED_RATE * min(1.0, steps / FITTED_STEPS) ** 1.5:.3g}")
    return recipe.model_copy(update=changes)


def _with_fitted_head(recipe: Recipe, schema: Schema) -> Recipe:
    """Fit the head first, in place of epochs, where it is a linear layer on pretrained features."""
    linear = not schema.columns and recipe.body in ("auto", "linear")
    epochs = recipe.frozen_epochs if "frozen_epochs" in recipe.model_fields_set else 0
    if recipe.fit_head and (not linear or epochs):
        raise RecipeError(
            "fit_head fits a linear layer on pictures alone, in place of frozen_epochs",
            found=f"body = {recipe.body!r}, frozen_epochs = {recipe.frozen_epochs}",
            fix="leave one of them out",
        )
    wanted = recipe.fit_head
    if wanted is None:
        wanted = linear and recipe.weights != "none" and not epochs
    return recipe.model_copy(
        update={"fit_head": wanted, "frozen_epochs": 0 if wanted else recipe.frozen_epochs}
    )


#: Defaults for a dot product of two ids. Its single output is the whole answer, so nothing is dropped. Its
#: factors start near 0, where products hardly move, so the steps are larger. Its weight decay follows from
#: the table (`with_dot_weight_decay`).
DOT_DEFAULTS: Mapping[str, float] = {"dropout": 0.0, "lr": 1e-2}
#: Weight decay of a dot product whose ids are in every batch (bench/results/ratings.md).
DOT_DECAY = 1.1


class OfRatings(Part):
    """What ratings are, and which are held out."""

    scale: tuple[float, float] | None = choice(None, "lowest and highest rating there can be")
    range: tuple[float, float] | None = choice(
        None, "ends of the sigmoid of sgd and of networks; by a rule where not given"
    )
    valid: float = choice(0.0, "fraction of the ratings held out", ge=0, lt=1)
    split: Literal["auto", "random", "time", "last", "users"] = choice(
        "auto", "how ratings are held out: at random, the latest, each user's last one, all of some users"
    )


class RatingNetworkRecipe(OfRatings, Training, Body):
    """Every choice of a network for ratings: embeddings of users and items, a body, and a number in a range.

    The fields of every network with their own defaults, and those of a `FactorRecipe` that describe
    ratings. With ``body = "dot"`` some defaults are those of `DOT_DEFAULTS`.
    """

    of_ratings: ClassVar[str] = "network"

    @property
    def words(self) -> list[str]:
        """What tells it from others, for a name."""
        return [self.body]

    body: Literal["auto", "linear", "mlp", "dot"] = "mlp"
    embedding: PositiveInt | None = 32
    epochs: PositiveInt = 6
    frozen_epochs: int = choice(0, ge=0)
    batch_size: PositiveInt = 512
    lr: float = choice(3e-3, "", gt=0)
    weight_decay: float = choice(0.1, ge=0)
    unknown_rate: float = choice(0.01, ge=0, lt=1)
    kind: Literal["auto", "explicit"] = "auto"
    duplicates: Literal["last", "first", "mean", "error"] | None = None

    def __init__(self, /, **values: object) -> None:
        own = OPTIMIZER_DEFAULTS.get(str(values.get("optimizer")), {})
        super().__init__(**{**(DOT_DEFAULTS if values.get("body") == "dot" else {}), **own, **values})

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read from TOML text, also of the first edition, whose files hold choices of pictures."""
        values = cls._parse(text)
        return cls(**{name: value for name, value in values.items() if name not in _ONLY_OF_RECIPE})

    def network(self) -> Recipe:
        """Its choices of network and training as a `Recipe`, with the defaults for pictures."""
        return Recipe(**{name: value for name, value in self if name in Recipe.model_fields})

    def identity(self) -> dict[str, object]:
        """The recipe in JSON's types, as ``run.json`` has it: with the first edition's picture choices."""
        return {**self.network().model_dump(mode="json"), **self.model_dump(mode="json")}

    def ratings(self) -> FactorRecipe:
        """Its choices of reading and splitting ratings, as the factor models take them."""
        names = ("scale", "duplicates", "valid", "split", "fold")
        seed = self.seed if self.split_seed is None else self.split_seed
        return FactorRecipe(kind="explicit", seed=seed, **{name: getattr(self, name) for name in names})


_ONLY_OF_RECIPE = Recipe.model_fields.keys() - RatingNetworkRecipe.model_fields.keys()


def with_dot_weight_decay(recipe: RatingNetworkRecipe, users: int, items: int) -> RatingNetworkRecipe:
    """The recipe with the weight decay of a dot product of so many ids, unless it sets one.

    1.1 sqrt(f), where f is the fraction of batches that an id is in: batch / sqrt(users x items), at most 1.
    Decay shrinks every row in every step, and Adam's steps of a row in a fraction f of them grow as sqrt(f).
    """
    if recipe.body != "dot" or "weight_decay" in recipe.model_fields_set:
        return recipe
    fraction = min(1.0, recipe.batch_size / max(1, users * items) ** 0.5)
    return recipe.model_copy(update={"weight_decay": round(DOT_DECAY * fraction**0.5, 4)})


#: Choices of factors that files have only where they are made: they came later.
LATER = ("core_items", "unobserved", "use_strength", "half_life", "shown", "recent", "fold", "split_seed")


class Factors(Part):
    """How latent factors are found. Where a number is None, a rule chooses it from the training rows
    (docs/maths.md)."""

    method: Literal["gibbs", "als", "sgd", "ease"] = choice(
        "gibbs", "how the factors are found; of events: ease (weights between items) or als [ease]"
    )
    factors: PositiveInt | None = choice(None, "latent factors of a user and of an item")
    sweeps: PositiveInt | None = choice(None, "passes of the Gibbs sampler")
    epochs: PositiveInt | None = choice(None, "passes of als or sgd")
    lr: float | None = choice(None, "learning rate of sgd", gt=0)
    weight_decay: float | None = choice(None, "of als, sgd or ease; gibbs samples its own", ge=0)
    unobserved: float | None = choice(
        None, "als, events: weight of a pair without an event, beside 1 of an event", gt=0
    )
    use_strength: bool | None = choice(
        None, "events: weigh each by its strength [als on, ease off; on with --half-life]"
    )
    half_life: str | None = choice(
        None, "events: their strength halves in this time of age: 12h, 90d, 8w, 2y"
    )
    shown: float | None = choice(
        None,
        "events: a row of strength 0 was shown and not taken, and weighs this much beside 1 of an event",
        gt=0,
    )
    recent: float | None = choice(
        None,
        "lists: a user's recent rows count more: 0.7 of the weight halves with every so many later ones; "
        "0: all count the same [chosen by what users took last, where --time names times]",
        ge=0,
        allow_inf_nan=False,
    )
    in_order: bool = choice(
        False, "without times: the rows of each user stand in the order of time, the oldest first"
    )
    engine: Literal["local", "spark"] = choice(
        "local", "what solves the factors: spark reads Parquet or CSV and fits als, beyond this memory"
    )
    core_items: PositiveInt | None = choice(
        None, "items with weights among each other, for lists; further ones are joined to these [8000]"
    )
    kind: Literal["auto", "explicit", "implicit"] = choice("auto", "ratings, or a log of events")
    duplicates: Literal["last", "first", "mean", "max", "min", "sum", "error"] | None = choice(
        None, "what a pair that occurs twice counts as"
    )
    implicit: bool = choice(True, "gibbs: learn from which items were rated, too")
    use_time: bool = choice(True, "gibbs: learn from the time column, where there is one")
    use_range: bool = choice(True, "sgd: stretch a sigmoid over the range")
    use_bias: bool = choice(True, "sgd: a bias per user and item")
    threads: PositiveInt = choice(2, "changes the answer in the last bits: sums depend on it")
    seed: Seed = choice(0, "of the split, the first factors and the sampler")
    split_seed: Seed | None = choice(None, "of the split alone [seed]")
    fold: Fold = choice(None, "hold out the K-th of N equal parts, K from 1")

    @model_serializer(mode="wrap")
    def _without_later(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        # Files and identities stay as they were before lists had weights between items, and ratings folds.
        values = dump(self)
        for name in LATER:
            if getattr(self, name) is None:
                values.pop(name, None)
        if self.engine == "local":
            values.pop("engine", None)
        if not self.in_order:
            values.pop("in_order", None)
        return values


class FactorRecipe(OfRatings, Factors):
    """Every choice of a ratings training. Fields are also options of ``tenfold fit`` for ratings."""

    of_ratings: ClassVar[str] = "factors"

    @property
    def keeps_best(self) -> bool:
        """Whether the best epoch is kept: the last one always is."""
        return False

    @property
    def words(self) -> list[str]:
        """What tells it from others, for a name."""
        return [str(self.method)]

    def ratings(self) -> FactorRecipe:
        """Its choices of reading and splitting ratings: itself."""
        return self


AnyRecipe = Recipe | RatingNetworkRecipe | FactorRecipe
