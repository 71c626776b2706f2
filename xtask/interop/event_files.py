"""Reads a run's event files with TensorBoard; all figures of metrics.jsonl must be there, once each,
also after a crash from which the run went on."""

import json
import shutil
import struct
import sys
import tempfile
from pathlib import Path

from tensorboard.backend.event_processing import plugin_event_accumulator as accumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

run = Path(sys.argv[1])
expected = {}
for line in (run / "metrics.jsonl").read_text().splitlines():
    row = json.loads(line)
    for name, value in row.items():
        if "/" in name and value is not None:
            expected.setdefault(name, {})[row["step"]] = struct.unpack("f", struct.pack("f", value))[0]



def load(folder):
    everything = {accumulator.TENSORS: 0}
    events = accumulator.EventAccumulator(str(folder), everything, {"scalars": 0, "text": 0})
    events.Reload()
    return events


events = load(run / "tensorboard")
tags = set(events.Tags()["tensors"])
missing = set(expected) - tags
assert not missing, f"TensorBoard does not see {sorted(missing)}"
values = 0
for name, by_step in expected.items():
    seen = [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in events.Tensors(name)]
    steps = [step for step, _ in seen]
    assert steps == sorted(set(steps)), f"{name}: a step shows twice or out of order: {steps}"
    # A figure of the end may be in the events alone: a run that is made longer takes its line back.
    lost = set(by_step) - set(steps)
    assert not lost, f"{name}: no event for the steps {sorted(lost)}"
    for step, value in seen:
        assert step not in by_step or value == by_step[step], f"{name}, step {step}: {value} is not {by_step[step]}"
    values += len(seen)

texts = sorted(tag for tag in tags if tag.startswith("samples/"))
samples = run / "samples.md"
if samples.exists():
    assert texts, "samples.md has texts, TensorBoard none"
    sections = {int(line.split()[2].rstrip(",")) for line in samples.read_text().splitlines() if line.startswith("## Step ")}
    for tag in texts:
        seen = events.Tensors(tag)
        assert sections <= {event.step for event in seen}, f"{tag}: {sections} are the steps of samples.md"
        text = tensor_util.make_ndarray(seen[-1].tensor_proto).item().decode()
        assert text.startswith("**"), f"{tag}: no prompt in {text!r}"
    metadata = events.SummaryMetadata(texts[0])
    assert metadata.plugin_data.plugin_name == "text", metadata
# As if the run had died at its end and gone on from its middle: the bytes that each process wrote, the
# second behind the mark that a resumed run begins with (crates/sinterlm-run/tests/fixtures).
with tempfile.TemporaryDirectory() as folder:
    names = sorted((run / "tensorboard").iterdir())
    records = [record for name in names for record in RawEventFileLoader(str(name)).Load()]
    middle = max(Event.FromString(record).step for record in records) // 2
    start = Event(wall_time=1.5, step=middle, session_log=SessionLog(status=SessionLog.START))
    later = [record for record in records if Event.FromString(record).step >= middle]
    for name in names:
        shutil.copy(name, folder)
    with open(Path(folder) / "events.out.tfevents.9999999999.again", "wb") as file:
        writer = RecordWriter(file)
        for record in [records[0], start.SerializeToString(), *later]:
            writer.write(record)
        writer.flush()
    again = load(folder)
    for name in expected:
        steps = [[event.step for event in loaded.Tensors(name)] for loaded in (events, again)]
        assert steps[0] == steps[1], f"{name}: a run gone on with from {middle} shows {steps[1]}"
print(f"tensorboard: {len(expected)} figures, {values} values, {len(texts)} samples; every step once")
