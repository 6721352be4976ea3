"""Tell English prompts, for the filters of Self-Instruct whose words are English."""

from selfreward_ray.words import words

_ENGLISH = """
    about and any are be by can could does each explain for from give has have how if into it its list make my of please
    should some than that the their them then there these they this to use what when where which who why with would
    write you your
"""
"""Common words of English prompts that are rare in other languages."""
_FOREIGN = """
    au aux avec ce cette dans des du elle est et il la le les ma mes nous qu que qui ses sur un une vos vous
    auf das dem den der ein eine einen einer für ich ist nicht oder sich und von wie zu zum zur
    de dat deze dit een het hoe maak mijn naar niet uit voor wat wordt
    che degli del della di gli lo nel nella questo quello uno
    al el em en esta este num numa para por um uma
    att det eller hur och som på
    czy dla jak jest nie się bir için
    adalah dan dari dengan ke pada sebuah untuk yang ang mga ng sa
    apa itu bagaimana gimana cara jelaskan buatlah buat bikin tuliskan sebutkan ini secara mengapa ano paano ito
    cosa spiegami spiega scrivi significa perché quali explique explica descreva descreve agora como qué escribe dibuja
    bitte erkläre zeichne schreibe beschreibe betekent beschrijf eigenlijk décris explique
    vad hvad innebär betyder beskriv förklara mitä miten kuvaile selitä
    unde este și scrie gasesc opisz wyjaśnij napisz nedir nasıl açıkla yaz
"""
"""Common words of other languages that are rare in English: of French, German, Dutch, Italian, Spanish and Portuguese,
Scandinavian languages, Polish and Turkish, Indonesian and Tagalog, in which "image", "file" or "plot" occur too."""
_ENGLISH_WORDS, _FOREIGN_WORDS = frozenset(_ENGLISH.split()), frozenset(_FOREIGN.split())


def is_english(text: str) -> bool:
    """Whether words of other languages do not outnumber common English words.

    A word with a letter beyond a-z is one of another language. A text without any such word is English, so that short
    ones are.
    """
    found = words(text)
    foreign = sum(word in _FOREIGN_WORDS or not word.isascii() for word in found)
    return foreign <= sum(word in _ENGLISH_WORDS for word in found)
