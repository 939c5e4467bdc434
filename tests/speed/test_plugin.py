"""`pytest --bench`: verdicts of each kind, and a pytest-benchmark that works as ever."""

import json

import pytest
from models import write_mlp
from pytest_benchmark.fixture import BenchmarkFixture

CASE = """\
model: {onnx: baseline.onnx}
candidate: {onnx: candidate.onnx}
thresholds:
"""


@pytest.fixture
def bench(pytester):
    """Run the case with these thresholds; the candidate has an eighth of the baseline's work."""
    cases = pytester.mkdir("cases")
    write_mlp(cases / "baseline.onnx", 128, layers=8)
    write_mlp(cases / "candidate.onnx", 128, layers=1)

    def run(thresholds, *args, method="runpytest"):
        lines = "".join(f"  {name}: {limit}\n" for name, limit in thresholds.items())
        (cases / "mlp.yaml").write_text(CASE + lines)
        return getattr(pytester, method)("-p", "no:cacheprovider", "--bench", *args)

    return run


# One pair of blocks decides nothing, whatever the machine does.
OPEN = {"speedup": "{min: 1.0, budget: 0.001}"}


def test_what_the_noise_does_not_allow_fails_unless_told_otherwise(bench, pytester):
    strict = bench(OPEN)
    strict.assert_outcomes(failed=1)
    strict.stdout.fnmatch_lines(["*the interval does not clear the limit*", "*to decide: *"])
    bench(OPEN, "--bench-inconclusive=warn").assert_outcomes(passed=1, warnings=1)
    [row] = json.loads((pytester.path / "reports/latest.json").read_text())["rows"]
    assert row["status"] == "inconclusive"  # let through, and not passed


@pytest.mark.slow
def test_every_speed_threshold_can_be_kept_and_missed(bench, pytester):
    kept = {
        "speedup": "{min: 0.001, budget: 20}",
        "latency": "10 s",
        "throughput": 0.1,
        "cold_start": "{max: 100000, budget: 1}",
    }
    kept["peak_memory"] = "4 GB"
    bench(kept, "-k", "not cold_start").assert_outcomes(passed=4, deselected=1)
    missed = {"speedup": 1000, "latency": 1e-6, "throughput": 1e12, "peak_memory": 1}
    bench(missed).assert_outcomes(failed=4)
    report = json.loads((pytester.path / "reports" / "latest.json").read_text())
    verdicts = {verdict["threshold"]: verdict for verdict in report["rows"][0]["verdicts"]}
    assert verdicts["peak_memory"]["status"] == "fail"
    assert {"cpu", "isa", "usable_cores", "load_average"} <= set(report["machine"])


def test_the_rounds_feed_pytest_benchmark(bench, pytester):
    result = bench(
        {"speedup": "{min: 0.001, budget: 20}"},
        "--benchmark-json=out.json",
        "--benchmark-save=first",
        "--benchmark-columns=min,median",
    )
    result.assert_outcomes(passed=1)
    written = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    assert {entry["name"].rsplit("::", 1)[1] for entry in written} == {"speed[baseline]", "speed[candidate]"}
    for entry in written:
        extra = entry["extra_info"]["weighbridge"]
        assert extra["ratio"] > 0
        assert extra["confidence"] == 0.99
        assert entry["stats"]["rounds"] >= extra["pairs"]
        assert 0 < entry["stats"]["min"] <= entry["stats"]["median"]
    again = bench(
        {"speedup": "{min: 0.001, budget: 20}"}, "--benchmark-compare", "--benchmark-compare-fail=min:100"
    )
    again.assert_outcomes(passed=1)
    again.stdout.fnmatch_lines(["*speed?candidate?*0001_first*"])


class _FixtureOf53(BenchmarkFixture):
    """Asks a test for its name as pytest-benchmark does up to 5.3.0."""

    def __init__(self, node, *args, **kwargs):
        super().__init__(node, *args, **kwargs)
        self.fullname = node._nodeid


def test_an_older_pytest_benchmark_is_fed_too(bench, pytester, monkeypatch):
    monkeypatch.setattr("pytest_benchmark.fixture.BenchmarkFixture", _FixtureOf53)
    result = bench({"speedup": "{min: 0.001, budget: 20}"}, "--benchmark-json=out.json")
    result.assert_outcomes(passed=1)
    written = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    assert {entry["fullname"] for entry in written} == {
        "cases/mlp.yaml::mlp::speed[baseline]",
        "cases/mlp.yaml::mlp::speed[candidate]",
    }


@pytest.mark.slow
def test_histograms_are_drawn(bench, pytester):
    # In a process of its own: pygal's importlib_metadata replaces the standard library's finder for good.
    drawn = bench(
        {"speedup": "{min: 0.001, budget: 20}"}, "--benchmark-histogram=drawn", method="runpytest_subprocess"
    )
    drawn.assert_outcomes(passed=1)
    assert list(pytester.path.glob("drawn*.svg"))


@pytest.mark.slow
def test_speedup_against_another_engine(pytester):
    """The baseline is the torch module itself, not its export."""
    pytest.importorskip("torch")
    cases = pytester.mkdir("cases")
    (cases / "model.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU())\n"
    )
    (cases / "net.yaml").write_text(
        "model: {torch: model.py:net}\ninputs: [[16]]\nengine: onnxruntime\n"
        "recipe:\n  - quantize: dynamic\n    engine: onnxruntime\n"
        "thresholds:\n  speedup: {min: 0.0001, against: torch, budget: 20}\n"
    )
    pytester.runpytest("-p", "no:cacheprovider", "--bench", "-k", "speedup").assert_outcomes(
        passed=1, deselected=1
    )
    report = json.loads((pytester.path / "reports" / "latest.json").read_text())
    details = report["rows"][0]["measurements"]["speed"]["details"]
    assert (details["engine"], details["against"]) == ("onnxruntime", "torch")
