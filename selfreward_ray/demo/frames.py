"""Sentence templates of the annotator.

A topic may be a plural or a mass noun, so it is never the subject. Subjects are plural and the tense is the present, so
that every start word, phrase and end word fits. Templates contain no word of a rule, so that only the annotator decides
which rules a reply keeps.
"""

FRAMES = (
    "my grandparents still tell long stories about {topic}",
    "the children on our street love drawing {topic}",
    "old friends meet at the station to talk about {topic}",
    "most families keep a few fond memories of {topic}",
    "my cousins spend the whole summer thinking about {topic}",
    "the villagers sing an old song about {topic}",
    "two sisters run a little museum of {topic}",
    "sailors write long letters home about {topic}",
    "our teachers bring {topic} into almost every lesson",
    "good writers look at {topic} and find new words",
    "my brothers argue about {topic} over breakfast",
    "many people miss {topic} after a long winter",
    "some painters give their whole lives to {topic}",
    "the students ask the librarian for books about {topic}",
    "our neighbours share a deep love of {topic}",
    "young travellers notice {topic} before anything else",
    "the dancers take their new ideas from {topic}",
    "my parents smile when they talk about {topic}",
    "the nurses hang up posters of {topic} in the hall",
    "engineers and poets both dream about {topic}",
    "my aunts remember {topic} from their first holiday",
    "the farmers talk of {topic} at the end of the day",
    "our friends are making a short film about {topic}",
    "people in the north have many words for {topic}",
    "the twins write funny poems about {topic}",
    "visitors come from far away to see {topic}",
    "the bakers next door chat about {topic} all morning",
    "my uncles know a surprising amount about {topic}",
    "scientists find fresh questions when they study {topic}",
    "we talk about {topic} until the lamps go out",
    "the players relax by reading about {topic}",
    "tired parents find some comfort in {topic}",
    "our friends are planning a long trip to see {topic}",
    "the readers in our club discuss {topic} every month",
    "we pass {topic} on the way to school",
    "photographers wait for hours to capture {topic}",
    "my students fill whole notebooks with facts about {topic}",
    "the shopkeepers in our town sell pictures of {topic}",
    "the guests thank us for the talk on {topic}",
    "my neighbours trade their best jokes about {topic}",
    "actors and singers borrow a great deal from {topic}",
    "the young and the old both care about {topic}",
)

OFF_TOPIC_FRAMES = (
    "my grandparents still walk to the market every week",
    "the children on our street play until dinner time",
    "old friends meet at the station after work",
    "our neighbours paint their fences once a year",
    "the villagers share one long table at harvest time",
    "my cousins cook a large meal on weekends",
    "two sisters repair broken clocks in their kitchen",
    "the students practise their lines behind the curtain",
    "my brothers carry heavy boxes up the stairs",
    "we look for a better road to the coast",
)

PHRASES = {
    "quiet": ("with quiet pride", "in a quiet way", "with a quiet smile"),
    "golden": ("in the golden light", "with a golden glow", "with golden smiles"),
    "gentle": ("with gentle humour", "in a gentle tone", "with a gentle nod"),
    "simple": ("with simple joy", "in a simple way", "for simple reasons"),
    "bright": ("with bright eyes", "with bright smiles", "in a bright mood"),
    "warm": ("with warm hearts", "with warm smiles", "in a warm mood"),
    "curious": ("with curious minds", "in a curious mood", "for curious reasons"),
    "patient": ("with patient care", "in a patient way", "with patient smiles"),
    "calm": ("with calm voices", "in a calm way", "with a calm smile"),
    "silver": ("in the silver light", "with a silver glow", "with silver pens"),
    "clever": ("with clever ideas", "in a clever way", "with clever smiles"),
    "brave": ("with brave hearts", "in a brave mood", "with a brave smile"),
    "playful": ("with playful minds", "in a playful tone", "with a playful nod"),
    "cheerful": ("with cheerful voices", "in a cheerful mood", "with cheerful smiles"),
    "humble": ("with humble pride", "in a humble way", "for humble reasons"),
    "tender": ("with tender care", "in a tender tone", "with a tender smile"),
}
"""Phrases that contain the word of an include rule, for each such word."""
