"""A small run for the tests of reports."""

from selfreward_ray.evaluation.outcomes import Outcomes
from selfreward_ray.reporting.findings import AddedComparison, Finding
from selfreward_ray.reporting.judged import PAIRED, ShownPrompt, ShownReply
from selfreward_ray.reporting.pairs_data import PairArchive, PairData
from selfreward_ray.reporting.recipe_diff import Difference
from selfreward_ray.reporting.summary import (
    IterationSummary,
    ModelSummary,
    RunSummary,
    Sample,
    StepSummary,
    Training,
)

HOSTILE = "<script>alert(1)</script> \"double\" 'single' {{ 7 * 7 }} {% raw %} a\x00b\x1b[31mc\ud800"
LONG_WORD = "W" * 4000

M0 = ModelSummary("M0", 21.06, 16.4, 26.5, None, None, None, 41.2, None, 256)
OUTCOMES = vars(Outcomes(130, 70, 56, 0.617, [0.556, 0.674], 0.58, [0.51, 0.65], 30, 12))
M1 = ModelSummary(
    "M1", 38.7, 32.9, 44.8, 0.612, 0.279, 0.041, 1058.4, 3964, 256, five_best=0.4, kendall=0.233,
    intervals={"pairwise_accuracy": [0.59, 0.65], "spearman": [0.2, 0.31], "kendall": None}, against={"M0": OUTCOMES},
)  # fmt: skip
SEED = StepSummary("seed", "M1", 4830, {"unreadable": 88, "order disagrees": 1204}, 512_033, 1033.4)
PAIR = StepSummary("pair", "M2", 3964, {}, 0, 2.1)
SAMPLE = Sample("M1", HOSTILE, LONG_WORD, 4.667, "</div><img src=x onerror=alert(1)>", 1.333)
FINDING = Finding("Answers", "M1 against M0", "better", "The demo score of M1 is 17.6 percentage points higher.",
    "demo score",
)  # fmt: skip
COMPARISON = AddedComparison(
    "gpt", "M1", "other/answers", "RUN/M1/evaluation", "other/answers", "a-judge", OUTCOMES, "a-judge"
)
ITERATION = IterationSummary(
    model="M1", judge="M0", prompts=5000, candidates=20_000, unreadable=0.021, ties=0.3, level=0.125, at_maximum=0.44,
    histogram={"0": 0.25, "5": 0.75}, candidate_words=40.0, chosen_words=52.0, rejected_words=31.0, chosen_mean=4.5,
    rejected_mean=2.25, unfinished=0.013, outcomes={PAIRED: 3964, "no lower candidate differs in text": 1036},
)  # fmt: skip
TRAINING = Training(
    "M1 · DPO", True, 3, (2,),
    {"loss": ((1, 0.69), (3, 0.41)), "accuracy": ((1, 0.5), (3, 0.75)), "learning_rate": ((1, 1e-6), (3, 1e-7))},
)  # fmt: skip
DIFFERENCE = Difference("dpo.beta", "0.2", "0.1", "Strength of the penalty.", machine=False)
RUN = RunSummary(
    name="demo",
    recipe_yaml="name: demo\nmodel: '<b>'\n",
    scorer="demo",
    models=(M0, M1),
    steps=(SEED, PAIR),
    samples=(SAMPLE,),
    findings=(FINDING,),
    comparisons=(COMPARISON,),
    iterations=(ITERATION,),
    trainings=(TRAINING,),
    differences=(DIFFERENCE,),
    versions={"ray": "2.60.0"},
)
NOTHING = PairArchive(0).finish()


def reply(name: str, mean: float | None = 3.0, role: str = "", text: str = "a b", **more: object) -> ShownReply:
    """A reply with one verdict."""
    values: dict = {"finished": True, "flag": None, "verdicts": ((mean, "said", ""),), **more}
    return ShownReply(name, text, mean, role=role, **values)


def prompt(name: str = "M2/p000001", text: str = "Why?", outcome: str = PAIRED) -> ShownPrompt:
    """A prompt with a pair of replies whose means are 4 and 1.5, and a third one."""
    best = reply(f"{name}/r0", 4.0, "chosen", "one two three")
    worst = reply(f"{name}/r2", 1.5, "rejected", "one")
    return ShownPrompt(name, text, outcome, (best, reply(f"{name}/r1", None), worst), best, worst)


def data(*prompts: ShownPrompt) -> PairData:
    """The embedded data of `prompts`, all of M2."""
    archive = PairArchive(1)
    archive.begin("M2")
    for one in prompts:
        archive.add(one)
    return archive.finish()
