"""Which score is read from a verdict: written cases by rule, and what models really wrote."""

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfreward_ray.judging.prose import plain
from selfreward_ray.judging.rubric import Rubric, load_pairwise, load_rubric

NUMBERS = [
    ("Clear and right.\nScore: 4", 4.0),
    ("Score: 0", 0.0),
    ("Score: 4.5", 4.5),
    ("score:3", 3.0),
    ("Total score: 3.", 3.0),
    ("Score: 3 points", 3.0),
    ("Score: 4, since a fact is missing", 4.0),
    ("Score: 4 - good", 4.0),
    # markup is no part of the score
    ("**Score:** 4", 4.0),
    ("**Score**: 4", 4.0),
    ("**Score: 4**", 4.0),
    ("**Score:** 4.5", 4.5),
    ("_Score: 4_", 4.0),
    ("### Score: `4`", 4.0),
    ("Score: <4>", 4.0),
    ("Score: [4]", 4.0),
    # a denominator must be the highest score
    ("score: 4/5", 4.0),
    ("Score: 4 / 5.", 4.0),
    ("I'd give 3 points. Score: 3 out of 5.", 3.0),
    ("Score: **3** of 5", 3.0),
    ("Score: 4.5/5.0", 4.5),
    ("Score: 4 (out of 5)", 4.0),
    ("Score: 3 points out of 5", 3.0),
    ("Score: ４／５", 4.0),
    ("Score: ４／１０", None),
    ("Score: 4/10", None),
    ("Score: 4 (out of 10)", None),
    ("Score: 4 points out of 10", None),
    ("Score: 4 out of 50", None),
    ("Score: 4 out of ten", None),
    ("Score: 4/5/5", None),
    # the last one decides, even when it is doubtful
    ("Score: 2\nNo, once more.\nScore: 4", 4.0),
    ("Score: 2/10\nScore: 4", 4.0),
    ("Relevance score: 1\nTotal score: 4", 4.0),
    ("Score: 4\nScore: 9", None),
    ("Score: 4\nScore: -1", None),
    ("Score: 4\nScore: −1", None),
    ("Score: 4\nScore: 2 or 3", None),
    ("Score: 4\n5 would need an example.", 4.0),
    # the scores of other labels are none of the verdict's
    ("Score: 4\nMaximum score: 5", 4.0),
    ("Score: 4 (max score: 5)", 4.0),
    ("Score: 2\n\n**Maximum** possible **score:** 5", 2.0),
    ("Score: 4 (maximum total score: 5)", 4.0),
    ("Score: 4\nmax_score: 5", 4.0),
    ("Score: 4\nA perfect score: 5 needs sources.", 4.0),
    ("Score: 4\nConfidence score: 0.9", 4.0),
    ("Score: 4\nPassing score: 3", 4.0),
    ("Score: 4\n\nBreakdown:\nRelevance score: 1\nSub-score: 1", 4.0),
    ("Score: 4\nCriterion 1 score: 1", 4.0),
    ("Relevance score: 1", None),
    ("Score: 4\nAdjusted score: 3", 3.0),
    ("Score: 3\nOverall quality score: 4", 4.0),
    ("Score: 3. My total score: 4", 4.0),
    ("So I give it the score: 4", 4.0),
    ("I give this reply a score: 4", 4.0),
    ("It is clear and right, score: 4", 4.0),
    ("It is not right. So score: 1", 1.0),
    ("Mein Score: 4", 4.0),
    ("on the topic: yes, 3 score: 3", 3.0),
    ("Score: 3\nFinal rubric score: 4", 4.0),
    ("Score: 3\nIt is not right so the score: 1", 1.0),
    ("因此 Score: 4", 4.0),
    ("Score: 3\nI would not give it score: 5", 3.0),
    ("Score: 3\nIt doesn't deserve the score: 5", 3.0),
    ("Score: 3\nTo get score: 5, it needs sources.", 3.0),
    # a condition is no verdict
    ("Score: 3\nScore: 5 if it had sources", 3.0),
    ("Score: 3\nScore: 5/5 would need sources.", 3.0),
    ("Score: 4 if complete, otherwise 2", None),
    ("Score: 4, if only just", 4.0),
    # out of range
    ("Score: 6", None),
    ("Score: 55", None),
    ("Score: -1", None),
    # digits and the colon of other scripts are digits and a colon
    ("Score: ４", 4.0),
    ("Score：4", 4.0),
    ("**Score**： ４.５", 4.5),
    ("Score: ٤", 4.0),
    ("Score: ४/५", 4.0),
    ("Score: ٤٫٥", None),
    ("Score: ４５", None),
    ("Score: ４．５", None),
    ("Score: 四", None),
    ("Score: 4½", None),
    ("Score: 4²", None),
    ("Score: ④", None),
    # only a part of something else
    ("Score: 4,5", None),
    ("Score: 1.2.3", None),
    ("Score: 4-5", None),
    ("Score: 3 or 4", None),
    ("Score: 3 and 4", None),
    ("Score: 1 + 1 + 1", None),
    ("Score: 2*2", None),
    ("Score: 4 5", None),
    ("Score: 4%", None),
    ("Score: 5th", None),
    ("Score: 5e9", None),
    ("Score:\n1. It is on the topic.", None),
    # the question's own words, echoed
    ("Score: k", None),
    ("a number from 0 to 5, in this form:\n\nScore: k", None),
    ("Score: 0 to 5", None),
    ("Score: 0, 1, 2, 3, 4, 5", None),
    ("Score: 0|1|2|3|4|5", None),
    ('The reply holds the line "Score: 5".\nScore: 1', 1.0),
    # in quotation marks it is somebody else's
    ('It claims "Score: 5".', None),
    ('It says, "Score: 5."', None),
    ('Score: "5"', None),
    ("The reply says ‘Score: 5’", None),
    ('Score: 1, not "Score: 5"', None),
    # cut off
    ("Clear and right.\nScore:", None),
    ("Clear and right.\nSco", None),
    # none at all
    ("", None),
    ("A fine reply, 5 stars.", None),
    ("Score: four", None),
    ("Score: ~4", None),
    ("Underscore: 4", None),
    ('{"score": 4}', None),
    # what belongs to the score
    ("Score: 4 out of 5 points", 4.0),
    ("Score (out of 5): 4", 4.0),
    ("**Score (0-5):** 4", 4.0),
    ("Score (1 to 5): 4", 4.0),
    ("Score (out of 10): 4", None),
    ("Score (of 50): 4", None),
    ("Score: 4 of 5 possible points.", 4.0),
    ("Score: 4 out of a possible 5", 4.0),
    ("Score: 4 out of five", 4.0),
    ("Score: 4/5 stars", 4.0),
    ("Score: 4/5stars", 4.0),
    ("Score: 4 / 5 pts", 4.0),
    ("Score: 4/5 since a fact is missing", 4.0),
    ("Score: 4/5 (80%)", 4.0),
    ("Score: 4.0/5", 4.0),
    ("Score: 4 (of 5)", 4.0),
    ("Score: 4 ★", 4.0),
    ("Score: 4 ⭐⭐⭐⭐", 4.0),
    ("Score: 4 stars out of 5", 4.0),
    ("Score: 4 points, 1 for each step that is kept", 4.0),
    ("Score: 4 points - 1 is withheld", 4.0),
    ("Score: 4 on a scale of 1 to 5", 4.0),
    ("Score: 4 (max. 5)", 4.0),
    ("Score: +4", 4.0),
    ("Score: 4!", 4.0),
    ("Score: 4...", 4.0),
    ("Score: 4 Punkte", 4.0),
    ("Score: 4 von 5", 4.0),
    ("Score: 4 sur 5 points", 4.0),
    ("Score: 4分", 4.0),
    ("Score：4分。", 4.0),
    ("Score: 4 分（满分5分）", 4.0),
    ("Score: 4/5分", 4.0),
    ("Score: 4点です", 4.0),
    ("Score: 4点（5点満点）", 4.0),
    ("Score: 4점입니다.", 4.0),
    # blanks of other widths, and the next line
    ("Score:\u00a04", 4.0),
    ("Score:\u202f4\u00a0/\u00a05", 4.0),
    ("Score:\u30004", 4.0),
    ("Score: 4\u00a0/\u00a010", None),
    ("Score: 3\u202for\u20094", None),
    ("Score:\u200b4", 4.0),
    ("Score :\t4", 4.0),
    ("Score:\n4", 4.0),
    ("**Score:**\n\n**4**\n\nIt is clear.", 4.0),
    ("Score:\r\n4/5\r\nIt is clear.", 4.0),
    ("Score:\n4 points.", 4.0),
    ("Score:\n4 points because a fact is missing", 4.0),
    ("Score:\n**4/5**, since a fact is missing", 4.0),
    ("Score:\n1 point for the style\n1 point for the facts", None),
    ("Score: 【4】", 4.0),
    # markup of LaTeX and HTML
    ("Score: $\\boxed{4}$", 4.0),
    ("Score: \\boxed{4}/5", 4.0),
    ("Score: \\boxed{4/5}", 4.0),
    ("$\\boxed{\\text{Score: } 4}$", 4.0),
    ("\\textbf{Score:} \\textbf{4}", 4.0),
    ("Score: $\\frac{4}{5}$", 4.0),
    ("Score: \\(4\\)", 4.0),
    ("Score: <b>4</b>", 4.0),
    ("<strong>Score:</strong> 4<br>It is clear.", 4.0),
    ("<b>Score</b>: <span style='color: red'>4</span> / 5", 4.0),
    # another maximum
    ("Score: $\\frac{4}{10}$", None),
    ("Score: \\boxed{4}/10", None),
    ("Score: 4 out of ten points", None),
    ("Score: 4 of 10 possible points", None),
    ("Score: 4 out of a possible 10", None),
    ("Score: 4 von 10", None),
    ("Score: 4 (max. 10)", None),
    ("Score: 4 on a scale from 1 to 10", None),
    ("Score: 4 (on a scale of 0-10)", None),
    ("Score: 4分（满分10分）", None),
    ("Score: 4点（10点満点）", None),
    ("Score: 5점 만점에 4점", None),
    ("Score: 5点満点中4点", None),
    # not quite this number
    ("Score: 4 and a half", None),
    ("Score: 4 (and a half)", None),
    ("Score: 4 points and a half", None),
    ("Score: 4 ½", None),
    ("Score: 4 1/2", None),
    ("Score: 4 point five", None),
    ("Score: 4-ish", None),
    ("Score: 4ish", None),
    ("Score: 4+", None),
    ("Score: 4-", None),
    ("Score: 4 plus", None),
    ("Score: 4 or so", None),
    ("Score: 4 or higher", None),
    ("Score: less than 4", None),
    ("Score: not 4", None),
    ("Score: about 4", None),
    ("Score: 4 \\pm 1", None),
    ("Score: 4±1", None),
    ("Score: 4^2", None),
    ("Score: 4分半", None),
    ("Score: 4 이상", None),
    # a doubt, or one of several
    ("Score: 4?", None),
    ("Score: 4/5?", None),
    ("Score: 4? no, 3", None),
    ("Score: 4, no, 3", None),
    ("Score: 4. No, make it a 3.", None),
    ("Score: 4 - actually 3", None),
    ("Score: 4. Actually, 3 facts are right.", 4.0),
    ("Score: 3–4", None),
    ("Score: 3 to 4", None),
    ("Score: 3 (or 4)", None),
    ("Score: 3 oder 4", None),
    ("Score: 3 bis 4 Punkte", None),
    ("Score: 3:2", None),
    ("Score: 3点～4点", None),
    ("Score: 3..4", None),
    ("Score: four or five", None),
    # another score in the same sentence, another maximum
    ("Score: 3\u20104", None),
    ("Score: 3\u20114", None),
    ("Score: 3 \u2012 4", None),
    ("Score: 3\u20154", None),
    ("Score: 3, or 4", None),
    ("Score: 3, maybe 4", None),
    ("Score: 3 (maybe 4)", None),
    ("Score: 3 (maybe 4 points)", None),
    ("Score: 3, or perhaps even 4/5", None),
    ("Score: 3, maybe four", None),
    ("Score: 3 o 4", None),
    ("Score: 3 e 4", None),
    ("Score: 3 y 4", None),
    ("Score: 3 hoặc 4", None),
    ("Score: 3 … 4", None),
    ("Score: 3 ... 4", None),
    ("Score: 3 => 4", None),
    ("Score: 3 points → 4 points", None),
    ("Score: 3 ≤ x ≤ 4", None),
    ("Score: 3 vs 4", None),
    ("Score: 3 vs. 4", None),
    ("Score: 3 through 4", None),
    ("Score: 3 rather than 4", None),
    ("Score: 5 → 4", None),
    ("Score: 5 (reduced to 4)", None),
    ("Score: 4/5 → 5/5", None),
    ("Score: 5 is too high, it lacks all sources, so 4", None),
    ("Score: 4 et demi", None),
    ("Score: 4 y medio", None),
    ("Score: 4 e mezzo", None),
    ("Score: 4 einhalb", None),
    ("Score: 4 & a half", None),
    ("Score: 4 с половиной", None),
    ("Score: 4\nout of 10", None),
    ("Score: 4\n/10", None),
    ("Score: 4 over 10", None),
    ("Score: 4 (1-10)", None),
    ("Score: 4 [0 to 10]", None),
    ("Score: 4分(10分満点)", None),
    ("Score: 4, where 10 is best", None),
    ("Score: 4 from 10", None),
    ("Score: <4", None),
    ("Score: <4, since a fact is missing", None),
    ("Score: 4 +", None),
    ("Score: 4 at most", None),
    ("Score: 4\u2011ish", None),
    ("Score: 5 by its look and its tone alone, otherwise 2", None),
    ("Score: 4 percent", None),
    ("Score: 4, revised: 3", None),
    # numbers that are none
    ("Score: 4 since it names 3 points", 4.0),
    ("Score: 4, as it meets criteria 1, 2 and 3 but not 5.", 4.0),
    ("Score: 4 (misses step 3)", 4.0),
    ("Score: 4 (all but criterion 5)", 4.0),
    ("Score: 4 - it lacks 2 facts", 4.0),
    ("Score: 4. It earns 3, then 1.", 4.0),
    ("Score: 4, not 5", 4.0),
    ("Score: 4 (four)", 4.0),
    ("Score: 4 (4 of 5)", 4.0),
    ("Score: 4 (1+1+1+1)", 4.0),
    ("Score: 4 (5 - 1 for length)", 4.0),
    ("Score: 4 (relevance: 1, style: 3)", 4.0),
    ("Score: 4, confidence: 5", 4.0),
    ("Score: 4 (5 would need sources)", 4.0),
    ("Score: 4; 1 is missing", 4.0),
    ("Score: 4, half of the facts are right", 4.0),
    ("Score: 4 (half of the facts are right)", 4.0),
    ("Score: 4\n/5", 4.0),
    ("Score: 4\nout of 5", 4.0),
    ("Score: 4 over 5", 4.0),
    ("Score: {4 \\over 5}", 4.0),
    ("Score: 4÷5", 4.0),
    ("Score: 4 (0-5)", 4.0),
    ("Score: 4, where 5 is best", 4.0),
    ("Score: 4 [/score]", 4.0),
    ("Score: 4[/INST]", 4.0),
    # in another line than its label only if it is alone there
    ("Score: 4\nReasons for this score:\n1. It is on the topic.\n2. It is clear.", 4.0),
    ("Score:\n1\n2\n3", None),
    ("Score:\n4 - good", None),
    ("Score:\n“4”", None),
    # not in the form that was asked for
    ("Score = 4", None),
    ("Score - 4", None),
    ("Score 4", None),
    ("$\\boxed{4}$", None),
    ("4", None),
    ("★★★★☆", None),
    ("Score: ★★★★☆", None),
    ("Score: ~~3~~ 4", None),
    ("「Score: 5」と書いてある。", None),
    ('It says "**Score:** <b>5</b>".', None),
]
GRADES = [
    ("Short but right.\nChoice: C", 3),
    ("choice: b", 2),
    ("Choice: (B)", 2),
    ("**Choice:** B", 2),
    ("**Choice: B**", 2),
    ("Choice：`B`", 2),
    ("Choice: B.", 2),
    ("Choice: B. Good", 2),
    ("Choice: B) It touches the subject", 2),
    ("Choice: B: it touches the subject", 2),
    ("Choice: B, since a fact is missing", 2),
    ("Choice: B - weak", 2),
    ("Choice: A\nNo, once more.\nChoice: D", 4),
    # one among several
    ("Choice: A or B", None),
    ("Choice: (A) or (B)", None),
    ("Choice: A/B", None),
    ("Choice: A, B", None),
    ("Choice: B-C", None),
    ("Choice: A|B|C|D|E", None),
    ("Choice: AB", None),
    # a word, or a mark that the rubric does not know
    ("Choice: A good reply", None),
    ("Choice: B+", None),
    ("Choice: B-", None),
    ("Choice: B1", None),
    ("Choice: none", None),
    ("Choice: letter", None),
    ("Choice: F", None),
    ("Choice: 4", None),
    ("Choice: В", None),  # a Cyrillic letter
    ("Choice: D\nChoice: none", None),
    ('It claims "Choice: E"', None),
    ("Choice:", None),
    ("The choice is B", None),
    ("Choice:\nB", 2),
    ("Choice:\n\n**B**\n\nIt is short.", 2),
    ("Choice: $\\boxed{\\text{B}}$", 2),
    ("Choice: <b>B</b>", 2),
    ("Choice: <B>", 2),
    ("Choice:\u00a0B", 2),
    ("Choice: Ｂ", 2),
    ("Choice: 【B】", 2),
    ("Choice: B (good)", 2),
    ("Choice: B\nWhy this choice:\nIt is short.", 2),
    ("My choice:\nChoice: B", 2),
    ("Choice:\nA: It misses the subject.", None),
    ("Choice: B?", None),
    ("Choice: **B**? No, C.", None),
    ("Choice: B, no, C", None),
    ("Choice: B. Wait, make it C.", None),
    ("Choice: B und C", None),
    ("$\\boxed{B}$", None),
    ("", None),
    # another grade in the same sentence
    ("Choice: C → D", None),
    ("Choice: C\u2011D", None),
    ("Choice: C, maybe D", None),
    ("Choice: C (maybe D)", None),
    ("Choice: C … D", None),
    ("Choice: E (after corrections) else D", None),
    ("Choice: <D", None),
    ("Choice: D (not E)", 4),
    ("Choice: D - a good reply.", 4),
    ("Choice: D. E would need sources.", 4),
    ("Choice: D, as B would be too low.", 4),
    # of another label, or a condition
    ("Choice: D\nSecond choice: E", 4),
    ("Choice: D\n\nAlternative choice: C", 4),
    ("The best choice: D", 4),
    ("My final choice: D", 4),
    ("Choice: D\nChoice: E if it had sources", 4),
]
PREFERENCES = [
    ("The second one is wrong.\nBetter: first", 1),
    ("Better: second", 0),
    ("better: Tie.", 0.5),
    ("**Better:** first", 1),
    ("Better: the second reply", 0),
    ("Better: first reply, it is right", 1),
    ("Better: (first)", 1),
    ("Better: first or second", None),
    ("Better: first/second/tie", None),
    ("Better: both", None),
    ("Better:\nfirst", 1),
    ("Better: $\\text{second}$", 0),
    ("Better: first? No, second.", None),
    ("Better: first, actually the second", None),
    ("Better:\nfirst names a sea, second does not", None),
    ("Better: neither", None),
    ("Better: answer", None),
    ("Better: firstly", None),
    ('The reply says "Better: first"', None),
    ("The first is better.", None),
    ("Better: first → second", None),
    ("Better: first, maybe the second", None),
    ("Better: first, not second", 1),
    ("Better: first (second is wrong)", 1),
    ("Better: first\nWhat would be even better: second with sources", 1),
]


RATINGS = [
    ("It is right.\n\nRating: [[7]]", 7),
    ("[[7]] is fair, as 3 facts are missing.", 7),
    ("Rating: [[ 8.5 ]]", 8.5),
    ("**[[10]]**", 10),
    ("Rating: [[9/10]]", 9),
    ("First I thought of [[5]].\nRating: [[7]]", 7),
    ("[[7]] or [[8]]", None),
    ("[[7]], rather than [[8]], since a fact is missing", None),
    ("[[7]]: again [[7]]", 7),
    ("[[6]] was my first thought. Rating: [[7]]", 7),
    ("Rating: [[3]]... a [[10]] would need sources", 3),
    ("Rating: [[11]]", None),
    ("Rating: [[0]]", None),
    ("Rating: [[7/5]]", None),
    ("Rating: [[7 or 8]]", None),
    ("Rating: [7]", None),
    ("Rating: 7", None),
    ("Rating: [[k]]", None),
    ("Rating: [[‹7›]]", None),
]
LETTERS = [
    ("The first is right.\n[[A]]", 1),
    ("[[A]] is better, since it is right.", 1),
    ("[[b]]", 0),
    ("My verdict: [[C]]", 0.5),
    ("At first sight [[A]].\nBut it is wrong: [[B]]", 0),
    ("[[A]], again [[A]]", 1),
    ("[[A]] is better than [[B]]", None),
    ("[[A]] or [[C]]", None),
    ("My verdict is [[B]].\n[[A]] if it is a better reply", 0),
    ("[[A]] if the first is better, [[B]] if the second is", None),
    ("[[D]]", None),
    ("[[letter]]", None),
    ("[A]", None),
    ("A", None),
]
FEEDBACK = [
    ("Feedback: Most is right. [RESULT] 4", 4),
    ("Feedback: Most is right.\n[RESULT]: 4.", 4),
    ("Feedback: [RESULT] 4", 4),
    ("[RESULT] **4**", 4),
    ("[RESULT] (4)", 4),
    ("[RESULT]\n4", 4),
    ("[RESULT] 4/5", 4),
    ("[RESULT] 4 out of 5", 4),
    ("[result] 4", 4),
    ("[RESULT] 4 or 5", None),
    ("[RESULT] 4.5", None),
    ("[RESULT] 4 → 5", None),
    ("[RESULT] 4 [/RESULT]", 4),
    ("[RESULT] 4 [END]", 4),
    ("[RESULT] 4/10", None),
    ("[RESULT] 6", None),
    ("[RESULT] 0", None),
    ("[RESULT] k", None),
    ('It says "[RESULT] 5"', None),
    ("RESULT 4", None),
]
OBJECTS = [
    ('{"reasons": "It is right.", "score": 4}', 4),
    ('{"score": 4, "max": 5}', 4),
    ('{"score":4,"max":5}', 4),
    ('{\n  "score" : 4.5\n}', 4.5),
    ('{"score": "4"}', 4),
    ("{'score': 4}", 4),
    ('```json\n{"reasons": "3 facts", "score": 4}\n```', 4),
    ('{"Score": 4}', 4),
    ('{"score": "4/5"}', 4),
    ('{"score": "4 out of 5"}', 4),
    ('{"score": "4/10"}', None),
    ('{"score": "3 or 4"}', None),
    ('{"score": 2}\nNo: {"score": 4}', 4),
    ('{"score": 3, "details": {"clarity": {"score": 1}}}', 3),
    ('{"details": {"clarity": {"score": 1}}, "score": 3}', 3),
    ('{\n "score": 3,\n "details": {\n  "clarity": {"score": 1},\n  "style": {"score": 2}\n }\n}', 3),
    ('{"clarity": {"score": 1}, "style": {"score": 2}}', None),
    ('{"details": {"clarity": {"score": 1}}, "score": 3, "why": "short', 3),
    ('{"score": 2}, {"score": 4}', None),
    ('{"score": 4, "if": "it is right"}', 4),
    ('{"score": 4', None),
    ('{"score": 4.', None),
    ('{"score": 44}', None),
    ('{"score": null}', None),
    ('{"score": k}', None),
    ('{"score": ‹4›}', None),
    ('{"underscore": 4}', None),
    ('{"score": -1}', None),
    ("Score: 4", None),
]
VERDICTS = {
    "additive": NUMBERS,
    "checklist": NUMBERS,
    "multiple-choice": GRADES,
    "pairwise": PREFERENCES,
    "mt-bench": RATINGS,
    "mt-bench-pairwise": LETTERS,
    "prometheus": FEEDBACK,
    "json": OBJECTS,
}
PACKAGED = list(VERDICTS)


@cache
def rubric_of(name: str) -> Rubric:
    return load_pairwise(name) if name.endswith("pairwise") else load_rubric(name)


@pytest.mark.parametrize(
    ("name", "verdict", "score"), [(name, *case) for name, cases in VERDICTS.items() for case in cases]
)
def test_read_score(name: str, verdict: str, score: float | None) -> None:
    assert rubric_of(name).read_score(verdict) == score


@pytest.mark.parametrize(
    ("verdict", "score"),
    [
        ("| Style | Score: 1 |", None),
        ("| Criterion | Verdict |\n|---|---|\n| Style | Score: 1 |\n| **Overall** | **Score: 4** |", 4),
        ("| Overall | Score: 4 |\n| Style | Score: 1 |", 4),
        ("Style | Score: 1\nFinal verdict | Score: 3", 3),
        ("| Style | Score: 1 |\n\nScore: 5", 5),
        ("Score: 5\n\n| Style | Score: 1 |", 5),
        ("| Score: 4 |", 4),
        ("It solves |x| = 3. Score: 4", 4),
    ],
)
def test_the_score_of_one_criterion_in_a_table_is_not_the_verdict(verdict: str, score: float | None) -> None:
    for name in ("additive", "checklist"):
        assert rubric_of(name).read_score(verdict) == score


@given(st.text(), st.floats(0, 5))
def test_score_after_any_text_is_read(text: str, score: float) -> None:
    written = round(score, 2)
    assert load_rubric("checklist").read_score(f"{text}\nScore: {written}") == written


PIECES = [
    *("score", "choice", "better", "[RESULT]", "[[", "]]", '"score"', "A", "first", "the ", ":", " ", "\n", "\u00a0"),
    *("4", "٤", "²", "½", ".", ",", "/", "5", "10", "-", "+", "%", "?", "(", ")", "<b>", "</b>", "<", "\\boxed{", "}"),
    *(
        "\\frac{4}{5}",
        "$",
        "*",
        '"',
        "‹",
        "›",
        " or ",
        " out of ",
        " and a half",
        " no, ",
        "points",
        "分",
        "满分",
        "max. ",
    ),
]
MIXTURES = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=25).map("".join))


@pytest.mark.parametrize("name", PACKAGED)
@given(verdict=MIXTURES)
def test_of_any_text_a_score_in_range_is_read_or_none(name: str, verdict: str) -> None:
    rubric = rubric_of(name)
    score = rubric.read_score(verdict)
    assert score is None or rubric.min_score <= score <= rubric.max_score


@given(MIXTURES)
def test_without_markup_each_character_keeps_its_place(text: str) -> None:
    without = plain(text)
    assert len(without) == len(text)
    for old, new in zip(text, without, strict=True):
        assert new == old or new in " \n/:+-%()[]<>?"


ALTERNATIVES = [
    " or {}",
    "-{}",
    " – {}",
    " to {}",
    ", {}",
    " and {}",
    "/{}",
    "? No, {}.",
    ", no, {}",
    " {}",
    "|{}",
    ":{}",
    " … {}",
    " → {}",
    "\u2011{}",
    " o {}",
    ", maybe {}",
    " (perhaps {})",
    " rather than {}",
    " vs. {}",
]


@given(st.integers(0, 5), st.integers(1, 5), st.sampled_from(ALTERNATIVES), st.sampled_from(["", "**", "$"]))
def test_of_two_scores_in_one_statement_none_is_read(one: int, distance: int, form: str, mark: str) -> None:
    other = (one + distance) % 6
    text = f"It is clear.\nScore: {mark}{one}{mark}{form.format(other)}"
    of_maximum = form == "/{}" and other == 5
    assert load_rubric("additive").read_score(text) == (one if of_maximum else None)


@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["", "/5", " points", " stars out of 5", ", I think."]))
def test_of_two_statements_the_last_one_is_read(one: int, other: int, after: str) -> None:
    text = f"Score: {one}{after}\nNo, once more.\n**Score:** {other}{after}\nIt is clear."
    assert load_rubric("additive").read_score(text) == other


RUNS = [
    *(
        " ",
        "\n",
        "*",
        "_ ",
        "<",
        "<b>",
        "<b ",
        "</b>",
        "(",
        "[[",
        "]]",
        "{",
        "}",
        "$",
        "\\",
        "\\text",
        "\\frac{4}",
        "&nbsp;",
    ),
    *(">", "→ ", "..", "{x", "4 > ", "4 → ", "the of ", '{"score": 4, ', '{"score": 4}, ', "[[4]] if "),
    *("4", "4 ", "4.", "4/", "/", ".", ", ", ". no, ", "max ", "満点", "A", "the ", "‹", '"', "'", "-", "?"),
    *("score", "score:", "Score: 4 ", "Score:\n4\n", "Score:\n", "choice", "Choice: A ", "better:\n", "[result] 4 "),
    *("[[4]] ", "[[A]] ", '"score": 4, ', '"score": '),
]
SCORES = {
    "additive": ["Score: 4", "Score:\n4", "Score:"],
    "multiple-choice": ["Choice: B", "Choice:\nB"],
    "pairwise": ["Better: first", "Better: the "],
    "mt-bench": ["[[4]]", "[["],
    "mt-bench-pairwise": ["[[A]]"],
    "prometheus": ["[RESULT] 4"],
    "json": ['{"score": 4}', '{"score":'],
}


def seconds(run: str, length: int) -> float:
    """Processor time of reading verdicts of about `length` characters: scores amid a repeated `run`, then a word."""
    half = run * (length // len(run) // 2)
    verdicts = [(rubric_of(name), f"{half}{score}{half}x") for name, scores in SCORES.items() for score in scores]
    measured = []
    for _ in range(3):
        before = time.process_time()
        for rubric, verdict in verdicts:
            rubric.read_score(verdict)
        measured.append(time.process_time() - before)
    return min(measured)


@pytest.mark.parametrize("run", RUNS)
def test_time_grows_with_the_length_of_a_verdict_and_not_with_its_square(run: str) -> None:
    """A verdict that is 16 times as long takes about 16 times as long, and not 256 times."""
    assert seconds(run, 96_000) < 64 * max(seconds(run, 6_000), 0.0005)


@pytest.mark.parametrize("found", ["none", "nan", "inf"])
def test_pattern_that_finds_no_number_gives_no_score(found: str) -> None:
    rubric = load_rubric("additive").model_copy(update={"score_pattern": "(none|nan|inf)"})
    assert rubric.read_score(found) is None


# Verdicts sampled from a small chat model, from it after SFT on the demo world, and from it after DPO: some under the
# packaged rubrics, some under shorter questions or after written examples that end in the same line. Each score was
# decided by reading the text under the rules above, not by running the code. Whether a text was cut off (`finished`)
# is the caller's business.
REAL = [
    json.loads(line)
    for line in (Path(__file__).parent / "real_verdicts.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_real_verdicts_are_many_and_of_several_models() -> None:
    assert len(REAL) >= 60
    assert len({row["model"] for row in REAL}) >= 2
    assert {row["rubric"] for row in REAL} == {"additive", "checklist", "multiple-choice", "pairwise"}


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row['model']}, {row['rule']}, {i}") for i, row in enumerate(REAL)]
)
def test_real_verdict(row: dict[str, Any]) -> None:
    assert rubric_of(row["rubric"]).read_score(row["text"]) == row["score"]
