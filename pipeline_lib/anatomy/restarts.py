"""Where a response restarts: it doubts what it has, goes over it again, or tries another way; by a list of phrases a language.

A phrase counts where a clause begins: at the start of a line, behind what ends a sentence, or behind words such as "but" and "no".
So "They wait 5 minutes", "await" and "is actually 5" are none. Phrases that follow one upon the other in a sentence ("Hmm, wait,
actually") are one restart. All languages are looked for in every text, since models mix them; what means something else in another
language is left out.
"""

import re

# Regular expressions, in lower case, a blank standing for any blanks or a hyphen.
PHRASES: dict[str, str] = {
    "English": r"""wait|hold on|hang on|h+mm+|actually|alternatively|oops|whoops|scratch that|never ?mind
        |on second thoughts?
        |(?:let me|let['’]s|let us|i(?:['’]ll| will| should| need to| must)) (?:just )?(?:quickly )?(?:double check
        |(?:re ?)?check|(?:re ?)?verify|recalculate|recompute|re ?examine|reconsider|rethink|redo|start over|start again
        |try again|go back|backtrack|think again|try (?:another|a different))
        |double checking|to double check|another (?:way|approach|method)|a different (?:way|approach|method)
        |(?:that|this)(?:['’]s| is) (?:not (?:right|correct|possible)|wrong|incorrect|impossible)
        |(?:that|this) (?:can['’]?t|cannot|isn['’]t|doesn['’]t) (?:be|seem|look)? ?(?:right|correct)
        |i(?:['’]ve| have)? made (?:a|an) (?:mistake|error)|my mistake|i was wrong""",
    "German": r"""warte|moment mal|einen moment|moment(?=[,.!…])|ähm*|hm+|eigentlich|alternativ
        |(?:ich (?:über)?prüfe|ich rechne|lass mich|lass uns|prüfen wir|rechnen wir) (?:das |es )?noch ?(?:mals?|einmal)
        |noch ?mals? (?:prüfen|nachrechnen)|überprüfen wir|(?:ein )?anderer (?:weg|ansatz)|anders gerechnet
        |das (?:stimmt nicht|ist falsch|kann nicht (?:stimmen|sein))|ich habe mich (?:geirrt|verrechnet)|mein fehler""",
    "French": r"""attends|attendez|un instant|euh+|en fait|alternativement|(?:re)?vérifions|recalculons|recommençons
        |reprenons|laisse(?:z)? moi (?:re)?vérifier|je (?:re)?vérifie|une autre (?:méthode|approche|façon)
        |je me suis trompée?|ce n['’]est pas (?:correct|juste|bon)|c['’]est faux""",
    "Spanish": r"""espera|espere|esperen|un momento|en realidad|alternativamente|pensándolo bien
        |(?:otra|de otra) (?:forma|manera|vía)|otro (?:método|enfoque)
        |(?:déjame|déjeme|permíteme|vamos a) (?:verificar|comprobar|revisar|recalcular)|(?:re)?verifiquemos|comprobemos
        |revisemos|recalculemos|me equivoqué|me he equivocado|eso no es correcto|eso está mal""",
    "Portuguese": r"""espere aí|espera aí|um momento|na verdade|pensando bem|(?:outra|de outra) (?:maneira|abordagem)
        |outro método|(?:deixe me|deixa me|deixa eu|deixe eu|vamos) (?:verificar|conferir|rever|revisar|recalcular)
        |me enganei|enganei me|cometi um erro|isso (?:não está certo|está errado)""",
    "Italian": r"""aspetta|aspettate|un attimo|in realtà|in alternativa|ripensandoci|un altro (?:modo|metodo|approccio)
        |(?:fammi|lasciami) (?:ri)?(?:verificare|controllare|calcolare)|(?:ri)?verifichiamo|(?:ri)?controlliamo|ricalcoliamo
        |mi sono sbagliat[oa]|ho sbagliato|non è corretto|è sbagliato""",
    "Russian": r"""подожди(?:те)?|погоди(?:те)?|постой(?:те)?|стоп|хм+|на самом деле|вообще то|как вариант
        |(?:другой|иной) (?:способ|подход|вариант)
        |(?:давай(?:те)? )?(?:ещё раз )?(?:пере)?(?:проверим|проверю|считаем|считаю)|пересчитаем|я ошиб(?:ся|лась)
        |это (?:неверно|неправильно|не так)""",
}
# Without blanks between words, what follows decides where a phrase might go on to mean something else.
UNSPACED: dict[str, str] = {
    "Chinese": r"""等等(?=[，,。.！!…：:\s]|我)|等一下|等下(?=[，,])|稍等|且慢|慢着|不[对對](?![称稱等])|其实|其實
        |实际上(?=[，,])|實際上(?=[，,])|或者(?=[，,])|嗯+(?=[，,。.…])
        |另(?:外)?一[种種个個](?:方法|思路|方式|做法|角度|解法)|换(?:一?[种个])?(?:思路|方法|角度|方式|做法)
        |換(?:一?[種個])?(?:思路|方法|角度|方式|做法)
        |(?:[让讓]我们?|我们?)?(?:再|重新)(?:次)?(?:检查|檢查|验证|驗證|确认|確認|计算|計算|算|核对|考虑|考慮|审视|想)
        |[让讓]我[们們]?(?:检查|檢查|验证|驗證|确认|確認|核对)|我(?:搞|弄|算|想)错了|我(?:搞|弄|算|想)錯了""",
    "Japanese": r"""(?:ちょっと)?待って|待てよ|いや(?=[、,。])|いえ(?=[、,。])|実は|あるいは(?=[、,])|うーん|違う|違います
        |そうでは(?:なく|ない|ありません)|別の(?:方法|やり方|アプローチ|考え方|解法)
        |もう一度(?=.{0,6}(?:確認|計算|検討|考え|確かめ))|再(?:確認|計算|検討)
        |(?:念のため)?確(?:認し|かめ)(?:よう|ます|ましょう|てみ)|(?:計算)?間違(?:え(?:た|ました)|いでした|っていました)""",
}
# What may stand between the beginning of a clause and the phrase.
LEADS = r"""but|no|oh|ah|okay|ok|so|well|hm+|and|or|now|aber|nein|ach|also|oder|mais|non|ou|alors|pero|o|bueno|mas|não|bem|ma
    |oppure|allora|но|нет|а|или|так"""
_BREAK = r"[\n.!?;:…—–(\[。！？；：，,]"
_MARKUP = r"[\s*_#>•–-]*"


def _spaced(pattern: str) -> str:
    """A pattern of the lists as written there over several lines; a blank stands for any blanks or a hyphen."""
    joined = re.sub(r"\s*\n\s*(?=\|)", "", pattern)
    return re.sub(r"\s+", r"[\\s-]+", joined)


_SPACED = "|".join(map(_spaced, PHRASES.values()))
_UNSPACED = "|".join(re.sub(r"\s*\n\s*", "", pattern) for pattern in UNSPACED.values())
_LEADS = re.sub(r"\s+", "", LEADS)
_LEAD = rf"(?:(?:{_LEADS})[\s,，…-]+)"
_PHRASE = rf"(?:(?:{_SPACED})(?!\w)|{_UNSPACED})"
# Behind a comma only with such a word: "he went there, wait".
_RESTART = re.compile(
    rf"{_BREAK}(?:(?<!,){_MARKUP}{_LEAD}{{0,3}}|(?<=,)\s*{_LEAD}{{1,3}}){_PHRASE}(?:(?:[ \t,，、…—–-]|\.\.){{1,4}}{_LEAD}?{_PHRASE})*"
)


def count_restarts(text: str) -> int:
    """How often a response restarts."""
    return sum(1 for _ in _RESTART.finditer(f"\n{text.lower()}"))
