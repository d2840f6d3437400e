"""Every kind of run answers over HTTP as it does in Python, and what cannot be answered is a named 4xx."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import tenfold
from tenfold.errors import TableError
from tenfold.remedies import Offer, offering
from tenfold.runs.options import PredictOptions
from tenfold.serving.app import _refusal, make_app
from tenfold.serving.limits import Limits
from tenfold.serving.served import Served

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "edition2"
LIMITS = Limits(max_body=1 << 20, max_pixels=4000, max_rows=8, timeout=200)
TABLES, LISTS = (
    ("table", "blend", "ensemble"),
    ("gibbs", "als", "sgd", "events", "ratings_blend", "dot", "mlp"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path_factory.mktemp("served") / "kept")) / "runs"


@pytest.fixture(scope="module")
def client(runs: Path) -> Iterator[TestClient]:
    names = ("photos", *TABLES, *LISTS)
    served = [Served(name, tenfold.load_run(runs / name), LIMITS) for name in names]
    served[0].warm()
    with TestClient(make_app(served, LIMITS)) as client:
        yield client


def told(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_answered_as_in_python(name: str, client: TestClient, runs: Path) -> None:
    rows = [{"farm": "a", "height": 0.5}, {"farm": "b", "height": -1}]
    found = told(client.post(f"/predict?run={name}", json={"rows": rows}))
    answers = tenfold.load_run(runs / name).predict(rows)
    for target, own in answers.targets.items():
        if own.probabilities is None:
            assert [row["answers"][target] for row in found["rows"]] == pytest.approx(
                own.values.tolist(), abs=1e-5
            )
        else:
            for row, chances in zip(found["rows"], own.probabilities, strict=True):
                assert [*row["probabilities"][target].values()] == pytest.approx(chances.tolist(), abs=1e-6)
    assert found["run"] == name and [row["row"] for row in found["rows"]] == ["1", "2"]


def test_photos_are_answered_in_every_form(client: TestClient, runs: Path) -> None:
    files = [GOLDEN / "photos" / f"0{number}.png" for number in range(3)]
    table = tenfold.load_run(runs / "photos").predict(files)
    wanted = next(iter(table.targets.values())).probabilities
    data = [file.read_bytes() for file in files]
    form = [("file", (f"leaf {number}.png", one, "image/png")) for number, one in enumerate(data)]
    found = told(client.post("/predict?run=photos", files=form))["rows"]
    assert [row["row"] for row in found] == ["leaf 0.png", "leaf 1.png", "leaf 2.png"]
    assert np.allclose([[*row["probabilities"]["disease"].values()] for row in found], wanted, atol=1e-6)
    [own] = told(client.post("/predict?run=photos", content=data[1], headers={"content-type": "image/png"}))[
        "rows"
    ]
    assert own["probabilities"] == found[1]["probabilities"]
    import base64

    address = "data:image/png;base64," + base64.b64encode(data[2]).decode()
    [own] = told(client.post("/predict?run=photos", json={"rows": [{"image_id": address}]}))["rows"]
    assert own["probabilities"] == found[2]["probabilities"]


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_answered_as_in_python(name: str, client: TestClient, runs: Path) -> None:
    run: Any = tenfold.load_run(runs / name)
    user = str(run.interactions.users[1])
    found = client.get(f"/recommend/{user}?run={name}&n=3")
    if run.scorer.columns:  # what needs further columns lists nothing, and says so
        assert "cell" in told(found, 422)["detail"] or "column" in told(found, 422)["detail"]
    else:
        assert [row["item"] for row in told(found)["rows"]] == run.recommend(user, n=3).items.tolist()
    item = str(run.interactions.items[0])
    near = client.get(f"/similar/{item}?run={name}&n=2")
    assert near.status_code == 200 or near.json()["detail"]
    unknown = client.get(f"/similar/no such film?run={name}")
    assert unknown.status_code in (404, 422) and "no such film" in unknown.text or unknown.status_code == 422
    pair = [{run.schema.ids[0].name: user, run.schema.ids[1].name: item}]
    answer = client.post(f"/predict?run={name}", json={"rows": pair})
    if answer.status_code == 200:
        wanted = run.predict(pair, PredictOptions(ranking=run.interactions.implicit)).score
        assert [row["score"] for row in answer.json()["rows"]] == pytest.approx(wanted.tolist(), abs=1e-5)
    learned = client.post(f"/recommend?run={name}", json={"ratings": [{"item": item, "rating": 4}], "n": 2})
    about = next(one for one in told(client.get("/runs")) if one["name"] == name)
    assert (learned.status_code == 200) == (about["learns"] and not about["needs"]), learned.text
    if learned.status_code == 200:
        assert item not in [row["item"] for row in learned.json()["rows"]]


def test_a_photo_finds_the_only_run_that_takes_photos(client: TestClient) -> None:
    data = (GOLDEN / "photos" / "00.png").read_bytes()
    found = told(client.post("/predict", content=data, headers={"content-type": "image/png"}))
    assert found["run"] == "photos"
    assert told(client.post("/predict", files={"file": ("a.png", data)}))["run"] == "photos"
    assert "--alike" in told(client.post("/alike", files={"file": ("a.png", data)}), 422)["fix"]
    # One that cannot be meant otherwise is told what the named run reads.
    assert "reads no pictures" in told(client.post("/predict?run=table", files={"file": data}), 422)["detail"]


def test_bad_requests_are_named(client: TestClient) -> None:
    page = ("page.jpg", b"<html>", "image/jpeg")
    refusal = told(client.post("/predict?run=photos", files={"file": page}), 422)
    assert refusal["detail"].startswith("page.jpg is not a picture: it is a web page")
    large = io.BytesIO()
    Image.new("RGB", (100, 100)).save(large, "PNG")
    refusal = told(client.post("/predict?run=photos", files={"file": ("big.png", large.getvalue())}), 422)
    assert "big.png has 10,000 pixels, limit 4,000" in refusal["detail"]
    assert (
        "none"
        in told(client.post("/predict?run=photos", json={"rows": [{"image_id": "/etc/passwd"}]}), 422)[
            "detail"
        ]
    )
    refusal = told(client.post("/predict?run=phtos", json={"rows": [{}]}), 404)
    assert refusal["fix"] == "did you mean 'photos'?"
    assert "which run" in told(client.post("/predict", json={"rows": [{"farm": "a"}]}), 400)["detail"]
    assert "height" in told(client.post("/predict?run=table", json={"rows": [{"farm": "a"}]}), 422)["detail"]
    cell = {"farm": "a", "height": "tall"}
    assert "'tall' is not a number" in str(
        told(client.post("/predict?run=table", json={"rows": [cell]}), 422)
    )
    assert told(
        client.post("/predict?run=table", content=b"{", headers={"content-type": "application/json"}), 422
    )
    nan = b'{"rows": [{"farm": "a", "height": NaN}]}'
    assert told(
        client.post("/predict?run=table", content=nan, headers={"content-type": "application/json"}), 422
    )
    assert (
        "text/html"
        in told(client.post("/predict?run=table", content=b"x", headers={"content-type": "text/html"}), 415)[
            "detail"
        ]
    )
    assert told(client.post("/predict?run=table", json={"rows": [{"farm": "a", "height": 1}] * 9}), 422)
    assert told(client.post("/predict?run=table", content=b"x" * (1 << 20 | 1)), 413)
    assert told(client.post("/predict?run=photos", data={"a": "b"}, files={}), 415)
    assert told(client.get("/recommend/u1?run=table"), 422)["fix"] == "ask POST /predict"
    assert told(client.get("/recommend/u1?run=gibbs&n=0"), 422) and told(client.get("/nowhere"), 404)
    stranger = told(client.get("/recommend/a%2Fb?run=gibbs&n=1"))
    assert not stranger["rows"][0]["known_user"] and "'a/b'" in stranger["notes"][0]
    assert "--alike" in told(client.post("/alike?run=photos", files={"file": page}), 422)["fix"]


def test_nonsense_is_never_the_servers_fault(client: TestClient) -> None:
    """Its errors would be raised here. schemathesis does the same 100,000 times: bench/serving.py --fuzz."""
    drawn = random.Random(0)
    odd: list[Any] = [
        "",
        "\0",
        "u1",
        "f" * 3000,
        "é\u202e",
        "-1",
        "1e999",
        "../..",
        "%2e%2e",
        None,
        True,
        7,
        1e308,
    ]
    odd += [2**63, [], {}, ["a"], {"": ""}, "data:image/png;base64,AAAA", "data:image/png;base64,%"]
    paths = [
        "predict",
        "alike",
        "recommend",
        "recommend/{}",
        "similar/{}",
        "rated/{}",
        "users",
        "items",
        "runs",
    ]
    types = ["application/json", "multipart/form-data", "multipart/form-data; boundary=q", "image/png", "x"]
    names = ["rows", "ratings", "user", "n", "item", "rating", "farm", "height", "image_id"]
    statuses: set[int] = set()
    for _ in range(150):
        path = drawn.choice(paths).format(quote(str(drawn.choice(odd)), safe=""))
        known = drawn.choice(["photos", "table", "gibbs", "events", "no such run"])
        query = {"run": known, "n": str(drawn.choice([1, *odd])), "text": str(drawn.choice(odd))}
        inner = {drawn.choice(names): drawn.choice(odd) for _ in range(3)}
        whole = drawn.choice([{"rows": [inner]}, {"ratings": [inner]}, inner, drawn.choice(odd)])
        body = json.dumps(whole).encode()[drawn.choice([0, 0, 0, 3]) :]
        answer = client.request(
            drawn.choice(["POST", "POST", "GET", "PUT"]),
            f"/{path}",
            params=dict(drawn.sample([*query.items()], drawn.randint(0, 3))),
            content=body,
            headers={"content-type": drawn.choice([types[0], *types])},
        )
        statuses.add(answer.status_code)
        assert answer.status_code < 500, answer.text
    assert {200, 404, 422} <= statuses


def test_facts_are_told(client: TestClient) -> None:
    told(client.post("/predict?run=table", json={"rows": [{"farm": "a", "height": 0.5}]}))
    assert told(client.get("/health"))["status"] == "ok"
    text = client.get("/metrics").text
    assert 'tenfold_requests_total{path="/predict",status="200"}' in text
    assert 'tenfold_batch_rows_bucket{le="1.0",run="table"}' in text and "tenfold_rows_waiting 0.0" in text
    client.get("/recommend/somebody?run=gibbs")
    assert "somebody" not in client.get("/metrics").text  # no series for each user
    page = client.get("/docs").text
    assert "swagger" in page and "https://" not in page
    described = told(client.get("/openapi.json"))["paths"]
    assert {"/predict", "/recommend/{user}", "/similar/{item}", "/health", "/metrics"} <= set(described)
    [run] = [one for one in described["/users"]["get"]["parameters"] if one["name"] == "run"]
    assert run["schema"]["enum"] == [*LISTS] and run["required"]
    [run] = [one for one in described["/predict"]["post"]["parameters"] if one["name"] == "run"]
    assert run["schema"]["enum"] == ["photos", *TABLES, *LISTS] and run["required"]
    assert json.dumps(described["/predict"]["post"]["requestBody"]).count("schema") == 3


def test_a_replaced_run_is_told(runs: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(runs / "table", tmp_path / "table"))
    with TestClient(make_app([Served("table", tenfold.load_run(copy), LIMITS)], LIMITS)) as client:
        row = {"rows": [{"farm": "a", "height": 0.5}]}
        told(client.post("/predict", json=row))
        shutil.rmtree(copy)
        shutil.copytree(runs / "table2", copy)
        refusal = told(client.post("/predict", json=row), 409)
        assert "table was replaced" in refusal["detail"] and refusal["fix"] == "start it again"
        assert told(client.get("/health"), 503)["runs"] == {"table": "replaced"}


def test_a_remedy_names_no_options_that_a_server_lacks() -> None:
    words = "correct these cells, or take the column for words: --category age as an input"
    offer = Offer("serve", frozenset({"--alike"}), {"--category": "fit", "--alike": "serve"})
    with offering(offer):
        assert _refusal(TableError("no number", fix=words))["fix"] == "correct these cells"
        assert _refusal(TableError("none", fix="serve it with --alike"))["fix"] == "serve it with --alike"
