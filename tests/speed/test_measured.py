"""The measurements on real sessions: what they hold, what they refuse, and that a planted fault is seen."""

import json
from dataclasses import replace

import numpy as np
import pytest
from models import write_mlp

from weighbridge.contracts import ENGINES, FORMATS, MEASURES, THRESHOLDS, Weighing
from weighbridge.core.data import Data
from weighbridge.core.errors import StageError
from weighbridge.core.results import to_json
from weighbridge.measure.cold_start import ColdStartLimit
from weighbridge.measure.latency import LatencyLimit
from weighbridge.measure.speed import SpeedupLimit
from weighbridge.measure.throughput import ThroughputLimit
from weighbridge.measure.timing.fresh import start
from weighbridge.measure.timing.gauge import DISTURBED, SwitchesGauge, gauge_for
from weighbridge.measure.timing.load import take_pairs
from weighbridge.measure.timing.sampler import Sampler

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def weighing(tmp_path_factory):
    """A baseline with eight times the layers of its candidate."""
    folder = tmp_path_factory.mktemp("models")
    engine = ENGINES.get("onnxruntime")
    return Weighing(
        candidate=write_mlp(folder / "candidate.onnx", 256, layers=1),
        baseline=write_mlp(folder / "baseline.onnx", 256, layers=8),
        engine=engine,
        engine_options=engine.options(),
        data=Data(shapes=((256,),)),
        metric=None,
    )


def measure(name, weighing, *limits):
    kept = {}
    measurement = MEASURES.get(name).run(replace(weighing, limits=limits, keep=kept.__setitem__))
    json.dumps(to_json(measurement.details), allow_nan=False)
    return measurement, kept


def test_speedup_keeps_what_report_and_plugin_need(weighing):
    limit = SpeedupLimit(min=1.01, budget=2.0)
    measurement, kept = measure("speed", weighing, limit)
    details = measurement.details
    reading = THRESHOLDS.get("speedup").read(measurement, limit)
    assert reading.value == details["ratio"]
    assert reading.confidence == 0.99
    assert 0 <= reading.interval[0] <= reading.interval[1]
    assert measurement.baseline > measurement.candidate > 0
    assert details["seconds"] > 0
    assert set(kept) == {"baseline", "candidate"}
    assert all(seconds > 0 for seconds in kept["candidate"])
    assert details["loads"] >= len(details["ratios"])
    assert details["ratios"] or details["disturbed"] > 0.5  # a busy machine may have no undisturbed moment
    assert 1 <= details["processes"] <= details["loads"]
    assert details["threads"] == 1
    assert details["engine"] == details["against"] == "onnxruntime"


def test_a_candidate_that_does_more_work_is_never_passed(weighing):
    planted = replace(weighing, candidate=weighing.baseline, baseline=weighing.candidate)
    limit = SpeedupLimit(min=1.0, budget=2.0)
    measurement, _ = measure("speed", planted, limit)
    reading = THRESHOLDS.get("speedup").read(measurement, limit)
    assert reading.interval[0] < 1.0
    assert reading.value < 1.0
    why = measurement.details["why_slow"]
    assert why["candidate"][0][0] in ("MatMul", "Gemm")
    assert sum(row[1] for row in why["candidate"]) > sum(row[1] for row in why["baseline"])


def test_loads_are_taken_in_fresh_processes_too(weighing):
    """The same session, padding and pairs there as here: a ratio of about eight in either."""
    sampler = Sampler.of(take_pairs, weighing, ("baseline", "candidate"), 1, 1.0)
    here = sampler.here(0, None)
    with sampler.elsewhere() as elsewhere:
        there = [*elsewhere([1, 2], here.calls_s), *elsewhere([3], here.calls_s)]
    assert len(there) == 3
    for load in (here, *there):
        assert load.calls_s == here.calls_s
        assert load.pairs
        assert load.rounds[0].min() > load.rounds[1].min()


class Conjured:
    """An engine that only this process knows."""

    name, formats, requires, packages, runs, sums_int8_in_pairs = "conjured", ("onnx",), (), (), True, False

    def __init__(self, engine):
        self.options, self.open = engine.options, lambda artifact, options: engine.open(artifact, options)


def test_an_engine_that_no_other_process_knows_is_timed_here(weighing):
    conjured = replace(weighing, engine=Conjured(weighing.engine))
    sampler = Sampler.of(take_pairs, conjured, ("baseline", "candidate"), 1, 0.5)
    with sampler.elsewhere() as elsewhere:
        assert elsewhere([1], None) == ()
    assert sampler.here(0, None).pairs


@pytest.mark.parametrize("threads", [1, 2])
def test_each_number_of_threads_has_a_gauge(threads):
    gauge = gauge_for(threads, best=1e-5)
    assert gauge() >= gauge.best > 0


def test_a_thread_that_had_to_wait_is_seen():
    gauge = SwitchesGauge()
    assert gauge() >= gauge.best
    gauge._seen -= 1  # as if another program had been given the processor meanwhile
    assert gauge() > DISTURBED * gauge.best


def test_against_an_engine_that_cannot_run_the_baseline_is_refused(weighing):
    with pytest.raises(StageError, match="does not run"):
        measure("speed", weighing, SpeedupLimit(min=1.0, against="torch"))


def test_threads_and_batch_are_the_limits(weighing):
    measurement, _ = measure("speed", weighing, SpeedupLimit(min=0.01, threads=2, batch=7, budget=0.3))
    assert measurement.details["threads"] == 2
    assert measurement.details["batch"] == 7


def test_latency_gives_percentiles_in_order(weighing):
    limit = LatencyLimit(max=1e6, percentile=95, budget=2.0)
    measurement, kept = measure("latency", weighing, limit)
    details = measurement.details
    assert details["p50"] <= details["p95"] <= details["p99"]
    assert measurement.candidate == details["p95"]
    reading = THRESHOLDS.get("latency").read(measurement, limit)
    assert reading.interval[0] <= reading.value <= reading.interval[1] < 1e6
    assert len(kept["candidate"]) == details["calls"]


def test_throughput_is_the_batch_over_the_median(weighing):
    limit = ThroughputLimit(min=1.0, batch=16, budget=1.0)
    measurement, kept = measure("throughput", weighing, limit)
    times = 16 / np.array(
        measurement.details["by_load"]
    )  # of two, the mean of the times is not that of the rates
    assert measurement.candidate == pytest.approx(16 / np.median(times), rel=0.01)
    rates = 16 / np.array(kept["candidate"])
    assert rates.min() <= measurement.candidate <= rates.max()
    assert THRESHOLDS.get("throughput").read(measurement, limit).interval[0] > 1.0


@pytest.mark.slow
def test_cold_start_is_measured_in_fresh_processes(weighing):
    limit = ColdStartLimit(max=1e-3, budget=0.1)
    measurement, kept = measure("cold_start", weighing, limit)
    details = measurement.details
    assert details["processes"] == len(kept["candidate"]) == 3
    assert measurement.candidate == pytest.approx(np.median(kept["candidate"]) * 1e3)
    assert measurement.candidate >= details["open_ms"]
    assert details["import_ms"] > 0
    assert any("budget" in line for line in THRESHOLDS.get("cold_start").advise(measurement))


@pytest.mark.slow
def test_peak_memory_sees_a_model_that_is_larger(weighing, tmp_path):
    """4 MB of weights in the candidate, 64 MB in the baseline."""
    large = replace(
        weighing,
        candidate=write_mlp(tmp_path / "small.onnx", 1024, layers=1),
        baseline=write_mlp(tmp_path / "large.onnx", 4096, layers=1),
        data=Data(shapes=((1024,),)),
    )
    with pytest.raises(StageError, match="fresh process"):
        measure("peak_memory", large)
    measurement, _ = measure("peak_memory", replace(large, baseline=None))
    assert 4e6 < measurement.candidate < 40e6
    measurement, _ = measure(
        "peak_memory", replace(large, candidate=large.baseline, baseline=None, data=Data(shapes=((4096,),)))
    )
    assert 64e6 < measurement.candidate < 300e6


CHILD = """
import subprocess
import sys

import torch

HELD = "b = b'1' * (400 << 20); import time; time.sleep(0.5)"


class Elsewhere(torch.nn.Linear):
    def forward(self, x):
        subprocess.run([sys.executable, "-c", HELD], check=True)
        return super().forward(x)


class Nearby(torch.nn.Linear):
    def forward(self, x):
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.1)"], check=True)
        return super().forward(x)


def elsewhere():
    return Elsewhere(4, 4)


def nearby():
    return Nearby(4, 4)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least", "most"), [("elsewhere", 400e6, 600e6), ("nearby", 0, 60e6)])
def test_peak_memory_is_that_of_a_model_and_its_children(tmp_path, name, least, most):
    """400 MB in a child are the model's; what a child shares with its parent is counted once."""
    pytest.importorskip("torch")
    (tmp_path / "model.py").write_text(CHILD)
    torch_format, engine = FORMATS.get("torch"), ENGINES.get("torch")
    model = torch_format.load(f"model.py:{name}", None, tmp_path)
    artifact = torch_format.save(model, tmp_path, "net")
    start_ = start(
        Weighing(artifact, None, engine, engine.options(), Data(), None), artifact, (np.ones((1, 4), "f"),)
    )
    assert least < start_.peak_bytes - start_.empty_bytes < most


@pytest.mark.parametrize("options", [{"budget": 0}, {"batch": 0}, {"threads": 0}, {"percentile": 90}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LatencyLimit(max=1.0, **options)
