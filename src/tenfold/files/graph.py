"""Graphs of ONNX: made whole, run, and written with a description beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from tenfold.data.tables.cells import word_codes
from tenfold.errors import DependencyError, OutputError, RunError
from tenfold.files.atomic import replacing

if TYPE_CHECKING:
    import onnx

#: Of the operators that graphs use, and of those that read texts.
OPSET, ML_OPSET = 17, 2
#: The most that an answer of a graph may differ from the run's.
MOST_DIFFERENT = 1e-5
#: A file of ONNX is a protocol buffer, which cannot be larger.
LARGEST = 2**31 - 1
#: Behind the name of an input of texts: its codes.
CODE = ":code"

Arrays = Mapping[str, NDArray[np.generic]]


class Exported(TypedDict):
    """A graph that was written, as ``tenfold export --json`` prints it (docs/formats.md).

    check: what it was held against, and the largest difference.
    """

    run: str
    output: str
    description: str
    bytes: int
    opset: int
    inputs: list[str]
    outputs: list[str]
    check: dict[str, float]
    notes: list[str]


@dataclass(frozen=True)
class GraphInput:
    """An input of a graph.

    kind: ``picture`` (rows, height, width, 3) uint8, ``number`` (rows,) float64, or ``text`` (rows,) strings.
    size: (height, width) of pictures that the graph does not resize.  words: texts that are known.
    """

    name: str
    kind: Literal["picture", "number", "text"]
    size: tuple[int, int] | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class GraphOutput:
    """An output of a graph: (rows, answers) float64 of a target, in the order of `classes`."""

    name: str
    kind: str
    classes: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()


def check_graph_path(path: str | Path) -> None:
    """Refuse a file that is not named ``.onnx``; DependencyError without the extra ``onnx``."""
    if Path(path).suffix.lower() != ".onnx":
        raise OutputError(f"{path}: graphs are written as .onnx", fix="name it model.onnx")
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            f"a graph is made and checked with onnx and onnxruntime: {error}",
            fix="pip install 'tenfold[onnx]'",
        ) from None
    if onnx.defs.onnx_opset_version() < OPSET:
        raise DependencyError(f"onnx {onnx.__version__} is too old", fix="pip install -U onnx")


def finished_graph(traced: bytes, inputs: Sequence[GraphInput], about: Mapping[str, object]) -> bytes:
    """A traced graph with its texts read and its description inside.

    traced: whose inputs of texts are int64 codes, called as the text with `CODE` behind.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load_from_string(traced)
    graph = model.graph
    texts = [given for given in inputs if given.kind == "text"]
    given = {value.name: value for value in graph.input}
    nodes = []
    for text in texts:
        codes = word_codes(text.words)
        nodes.append(
            helper.make_node(
                "LabelEncoder",
                [text.name],
                [text.name + CODE],
                domain="ai.onnx.ml",
                keys_strings=list(codes),
                values_int64s=list(codes.values()),
                default_int64=0,
            )
        )
        given[text.name] = helper.make_tensor_value_info(text.name, TensorProto.STRING, ["rows"])
    own = [*nodes, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(own)
    # An input that nothing reads is left out by the tracer; who feeds the graph need not know that.
    graph.input.extend(given.get(one.name) or _input_info(one) for one in inputs)
    if texts:
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    return described_graph(model, about)


def _input_info(given: GraphInput) -> onnx.ValueInfoProto:
    from onnx import TensorProto, helper

    shape: list[str | int] = ["rows"]
    if given.kind == "picture":
        shape += [*(given.size or ("height", "width")), 3]
    kind = TensorProto.UINT8 if given.kind == "picture" else TensorProto.DOUBLE
    return helper.make_tensor_value_info(given.name, kind, shape)


def described_graph(model: onnx.ModelProto, about: Mapping[str, object]) -> bytes:
    """The graph as a file, with its description in its metadata. RunError where it is not a valid graph."""
    import onnx

    entry = model.metadata_props.add()
    entry.key, entry.value = "tenfold", json.dumps(about, ensure_ascii=False)
    size = model.ByteSize()
    if size > LARGEST:
        raise RunError(
            f"the graph has {size:,} bytes, and a file of ONNX has {LARGEST:,} at most",
            fix="export the members of an ensemble one by one",
        )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise RunError(f"this run makes no valid graph: {error}", fix="report it, please") from None
    return model.SerializeToString()


def largest_difference(model: bytes, feeds: Arrays, expected: Arrays) -> float:
    """Run a graph on rows, all at once and the first by itself; the largest difference from what is expected.

    Numbers above 1 count relative to their size; NaN equals NaN.
    Raises RunError where onnxruntime cannot run the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    largest = 0.0
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        wanted = {value.name for value in session.get_inputs()}
        for rows in (slice(None), slice(0, 1)):
            given = {name: values[rows] for name, values in feeds.items() if name in wanted}
            made = session.run(list(expected), given)
            for own, other in zip(made, expected.values(), strict=True):
                largest = max(largest, _difference(np.asarray(own), other[rows]))
    # Its own errors have no common base.
    except Exception as error:  # noqa: BLE001
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"onnxruntime {onnxruntime.__version__} cannot run the graph: {first}",
            fix="install a later onnxruntime: pip install -U onnxruntime",
        ) from None
    return largest


def _difference(made: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    own, other = np.asarray(made, np.float64), np.asarray(expected, np.float64)
    if own.shape != other.shape:
        return float("inf")
    both = np.isnan(own) & np.isnan(other)
    with np.errstate(invalid="ignore"):
        far = np.where(both | (own == other), 0.0, np.abs(own - other) / np.maximum(1.0, np.abs(other)))
    return float(np.nan_to_num(far, nan=np.inf, posinf=np.inf).max(initial=0.0))


def refuse_difference(difference: float, what: str) -> None:
    """Raise RunError where a graph answers otherwise than its run."""
    if not difference < MOST_DIFFERENT:
        raise RunError(
            f"the graph's answers to {what} differ from the run's by {difference:.1e}",
            found=f"nothing was written; the bound is {MOST_DIFFERENT:.0e}",
            fix="report the architecture, please; tenfold predict answers as before",
        )


def write_graph(path: str | Path, model: bytes, about: Mapping[str, object]) -> Path:
    """Write a graph, and beside it the JSON file that describes it; returns the latter's path.

    The description has the graph's checksum: an old graph beside it is told apart. Where one of them cannot
    be written, both stay as they were.
    """
    beside = Path(path).with_suffix(".json")
    record = {**about, "graph": Path(path).name, "sha256": hashlib.sha256(model).hexdigest()}
    with replacing(path) as graph, replacing(beside) as description:
        description.write((json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode())
        graph.write(model)
        graph.flush()  # a full disk is known before either takes its place
    return beside


def write_exported(
    run: Path,
    output: str,
    model: bytes,
    about: Mapping[str, object],
    names: tuple[Sequence[str], Sequence[str]],
    check: Mapping[str, float],
    notes: Sequence[str],
) -> Exported:
    """Write a run's graph with its description and what it was held against. names: of inputs and outputs."""
    described = write_graph(output, model, {**about, "check": dict(check)})
    return {
        "run": str(run),
        "output": output,
        "description": str(described),
        "bytes": len(model),
        "opset": OPSET,
        "inputs": list(names[0]),
        "outputs": list(names[1]),
        "check": dict(check),
        "notes": list(notes),
    }


def describe_graph(inputs: Iterable[GraphInput], outputs: Iterable[GraphOutput]) -> dict[str, object]:
    """What the description says of inputs and outputs."""
    shapes = {"picture": ["rows", "height", "width", 3], "number": ["rows"], "text": ["rows"]}
    types = {"picture": "uint8", "number": "float64", "text": "string"}
    given = []
    for one in inputs:
        shape = shapes[one.kind] if one.size is None else ["rows", *one.size, 3]
        words = {"words": list(one.words)} if one.kind == "text" else {}
        given.append({"name": one.name, "kind": one.kind, "type": types[one.kind], "shape": shape, **words})
    made = [
        {name: value for name, value in asdict(one).items() if value != () or name in ("name", "kind")}
        for one in outputs
    ]
    return {"opset": OPSET, "inputs": given, "outputs": made}
