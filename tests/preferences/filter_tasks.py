"""Tasks of several kinds and languages, with short replies that are right for many of their prompts, and evasions."""

from collections.abc import Iterator
from dataclasses import dataclass

Judged = list[tuple[str, list[str]]]

WORDS = {
    "en": "rivers tea bread snow clocks maps trains wool salt moss chairs lamps birds soup glass roads",
    "de": "Flüsse Tee Brot Schnee Uhren Karten Züge Wolle Salz Moos Stühle Lampen Vögel Suppe Glas Straßen",
    "zh": "河流 茶叶 面包 雪花 钟表 地图 火车 羊毛 海盐 青苔 椅子 灯光 鸟类 汤水 玻璃 道路",
}
LONG = {
    "en": "When I think about {0} number {1}, I first remember how my aunt used to speak of them in the evening. "
    "She said that they are older than the village, and that nobody who looks at them for long stays in a hurry.",
    "de": "Wenn ich an {0} Nummer {1} denke, erinnere ich mich zuerst daran, wie meine Großmutter abends davon sprach. "
    "Sie sagte, das alles sei älter als das Dorf, und niemand, der lange hinsehe, bleibe in Eile.",
    "zh": "说到第{1}个关于{0}的故事，我首先想起祖母在傍晚时常常谈到{0}的样子。她说{0}比这个村子还要古老，"
    "凡是久久凝视的人都不会再匆忙，心里也会慢慢安静下来，像水一样。",
}
SENTENCE = {
    "en": "I would say that it is {0}, number {1}.",
    "de": "Ich würde sagen, es ist {0}, Nummer {1}.",
    "zh": "我认为第{1}个应该是{0}。",
}
EVASIONS = {
    "en": ("Sure.", "OK", "Understood.", "Yes!", "Done.", "Certainly"),
    "de": ("Klar.", "Verstanden.", "Ja!", "Gerne", "Erledigt.", "Natürlich"),
    "zh": ("好的。", "明白了", "当然", "可以。", "没问题", "收到"),
}


@dataclass(frozen=True)
class Task:
    """A task that is asked many times about other things."""

    kind: str
    language: str
    asked: str
    """A prompt; ``{0}`` is a thing, ``{1}`` a number and ``{2}`` the right answer, where the prompt contains it."""
    answers: tuple[str, ...] = ()
    """The right answers, each for some of the prompts; none if every prompt has its own."""
    own: str = ""
    """The right answer of each prompt, if it is short and its own."""


TASKS = (
    Task("labels", "en", "What is the mood of this review? I saw the film about {0} {1} times.",
         ("Positive", "Negative")),
    Task("labels", "en", "To which section of a newspaper does the headline belong? {0}: {1} new ones",
         ("Sports", "Local news")),
    Task("labels", "de", "Welche Stimmung hat diese Bewertung? Film {1} über {0} lief lange.",
         ("Positiv", "Negativ", "Neutral")),
    Task("labels", "de", "Zu welchem Thema gehört die Schlagzeile? {0} im Jahr {1}",
         ("Wirtschaft", "Kultur")),
    Task("labels", "zh", "这条评论的情绪是什么？我看了第{1}部关于{0}的电影。",
         ("积极", "消极")),
    Task("labels", "zh", "这个标题属于报纸的哪个版面？{0}在第{1}年",
         ("体育", "经济", "文化")),
    Task("named", "en", "Is the claim supported, refuted, or is there not enough information? {0} are {1} years old.",
         ("Supported", "Refuted", "Not enough information")),
    Task("named", "en", "Answer with strongly agree, strongly agree with reservations, or disagree. {0} help {1}.",
         ("Strongly agree", "Strongly agree with reservations", "Disagree")),
    Task("named", "de", "Antworte mit: trifft voll zu, trifft eher nicht zu, weiß ich nicht. {0} sind {1} Jahre alt.",
         ("Trifft voll zu", "Trifft eher nicht zu", "Weiß ich nicht")),
    Task("named", "de", "Ist der Ton freundlich, sachlich oder unfreundlich? Herr {1} schreibt von {0}.",
         ("Sachlich", "Freundlich")),
    Task("named", "zh", "请从“完全同意”、“有保留地同意”、“不同意”中选择。第{1}个人谈到{0}。",
         ("完全同意", "有保留地同意", "不同意")),
    Task("named", "zh", "判断：支持、反对还是信息不足？关于{0}的第{1}个说法。",
         ("支持", "反对", "信息不足")),
    Task("extracted", "en", "Which city is named in the text? A trader of {0} went to {2} in the year {1}.",
         ("New York City", "Berlin", "Rio de Janeiro", "Paris")),
    Task("extracted", "en", "Who is the person in the text? In {1} they met {2} beside the {0}.",
         ("Martin Luther King", "Ada Lovelace", "Ludwig van Beethoven")),
    Task("extracted", "de", "Welcher Ort steht im Text? Im Jahr {1} kamen {0} aus {2} an.",
         ("Frankfurt am Main", "Bad Homburg vor der Höhe", "Bonn")),
    Task("extracted", "de", "Welche Firma wird genannt? {0} Nummer {1} kaufte die {2} gestern.",
         ("Deutsche Bahn AG", "Müller und Söhne GmbH", "Siemens")),
    Task("extracted", "zh", "文中提到哪个城市？第{1}年，卖{0}的商人去了{2}。",
         ("乌鲁木齐", "呼和浩特", "北京")),
    Task("extracted", "zh", "文中的人物是谁？第{1}年，{2}在谈{0}。",
         ("列夫·托尔斯泰", "爱因斯坦", "鲁迅")),
    Task("choice", "en", "Is this e-mail spam? Buy {1} cheap {0} today.",
         ("Yes", "No")),
    Task("choice", "en", "Which option is right? {0} number {1}. (A) old (B) new (C) neither",
         ("A", "B", "C")),
    Task("choice", "de", "Ist das Wort richtig geschrieben? {0}{1}",
         ("Ja", "Nein")),
    Task("choice", "de", "Wie viele Sterne gibt der Gast? {0} mit Zimmer {1}",
         ("3", "5", "1")),
    Task("choice", "zh", "这封邮件是垃圾邮件吗？今天有{1}种便宜的{0}。",
         ("是", "否")),
    Task("choice", "zh", "哪个选项正确？关于{0}的第{1}题",
         ("甲", "乙", "丙")),
    Task("code", "en", "List the persons in the text as JSON. The {0} of street {1} are closed.",
         ("{}", "[]")),
    Task("code", "en", "Which operator is missing in line {1} of the program about {0}?",
         ("==", "!=", "+=")),
    Task("code", "de", "Gib die Personen im Text als JSON aus. Text {1} über {0}",
         ('{"personen": []}', '{"personen": null}')),
    Task("code", "de", "Welches SQL-Wort fehlt in Abfrage {1} über {0}?",
         ("WHERE", "GROUP BY", "`ORDER BY`")),
    Task("code", "zh", "以JSON列出文中的人名。第{1}段谈到{0}。",
         ('{"人名": []}', "{}")),
    Task("code", "zh", "第{1}行关于{0}的程序缺少哪个运算符？",
         ("<=", ">=")),
    Task("writing", "en", "Write a short poem about {0}, at most {1} lines."),
    Task("writing", "en", "Explain to a child of {1} years how {0} came into the world."),
    Task("writing", "de", "Schreibe eine kurze Geschichte über {0} in {1} Sätzen."),
    Task("writing", "de", "Erkläre einem Kind von {1} Jahren, warum es {0} gibt."),
    Task("writing", "zh", "请写一首关于{0}的短诗，不超过{1}行。"),
    Task("writing", "zh", "请向{1}岁的孩子解释{0}是怎么来的。"),
    Task("facts", "en", "What is the price of {0} in the year {1}?", own="{1} dollars"),
    Task("facts", "en", "Give a title for chapter {1} about {0}.", own="{0} {1}"),
    Task("facts", "de", "Was kosten {0} im Jahr {1}?", own="{1} Euro"),
    Task("facts", "de", "Gib Kapitel {1} über {0} einen Titel.", own="{0} {1}"),
    Task("facts", "zh", "第{1}年{0}的价格是多少？", own="{1}元"),
    Task("facts", "zh", "给关于{0}的第{1}章取个标题。", own="{0}{1}"),
)  # fmt: skip
STYLES = ("answers", "sentences", "long")
"""What the other replies of a model are to tasks with short answers: answers too, sentences, or long explanations."""


def asked(task: Task, style: str, count: int = 24, evasion: str = "") -> Judged:
    """`count` prompts of `task` with three replies each. An `evasion` is the first reply of two of three prompts."""
    things, judged = WORDS[task.language].split(), []
    for i in range(count):
        thing = things[i * 7 % len(things)]
        own, wrong = _answer(task, thing, i), _answer(task, thing, i + 1)
        first = evasion if evasion and i % 3 else own
        judged.append((task.asked.format(thing, i, own), [first, *_others(task, style, thing, i, own, wrong)]))
    return judged


def _answer(task: Task, thing: str, number: int) -> str:
    """The right answer to a prompt, which is a wrong one to the prompt before it."""
    if task.answers:
        return task.answers[number % len(task.answers)]
    return (task.own or LONG[task.language]).format(thing, number)


def _others(task: Task, style: str, thing: str, number: int, own: str, wrong: str) -> Iterator[str]:
    if task.kind == "writing" or style == "long":
        yield LONG[task.language].format(thing, number) + (f" {own}" if task.kind != "writing" else "")
        yield LONG[task.language].format(thing, number + 100)
    elif style == "sentences":
        yield SENTENCE[task.language].format(own, number)
        yield SENTENCE[task.language].format(wrong, number)
    else:
        yield own
        yield wrong


def other_prompts(language: str, count: int) -> Judged:
    """Prompts without a task in common, and long replies."""
    things = WORDS[language].split()
    return [
        (
            f"{things[i % 16]} {i} {things[i * 5 % 16]}{i * 3}?",
            [LONG[language].format(things[i % 16], k) for k in (i, -i)],
        )
        for i in range(count)
    ]


def mixed(language: str, style: str, evasion: str = "") -> Judged:
    """A run of all tasks of a language. With an `evasion`, two of three prompts of each have it as a reply."""
    tasks = [task for task in TASKS if task.language == language]
    return [one for task in tasks for one in asked(task, style, evasion=evasion)] + other_prompts(language, 40)
