"""A small run for the tests of reports."""

from selfreward_ray.reporting.summary import ModelSummary, RunSummary, Sample, StepSummary

HOSTILE = "<script>alert(1)</script> \"double\" 'single' {{ 7 * 7 }} {% raw %} a\x00b\x1b[31mc\ud800"
LONG_WORD = "W" * 4000

M0 = ModelSummary("M0", 21.06, 16.4, 26.5, None, None, None, 41.2, None, 256)
M1 = ModelSummary("M1", 38.7, 32.9, 44.8, 0.612, 0.279, 0.041, 1058.4, 3964, 256)
SEED = StepSummary("seed", "M1", 4830, {"unreadable": 88, "order disagrees": 1204}, 512_033, 1033.4)
PAIR = StepSummary("pair", "M2", 3964, {}, 0, 2.1)
SAMPLE = Sample("M1", HOSTILE, LONG_WORD, 4.667, "</div><img src=x onerror=alert(1)>", 1.333)
RUN = RunSummary("demo", "name: demo\nmodel: '<b>'\n", "demo", (M0, M1), (SEED, PAIR), (SAMPLE,))
