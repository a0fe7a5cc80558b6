r"""What LaTeX calls things: macros that change the looks alone, synonyms, functions, and short English words."""

import re


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def command(names: str) -> str:
    r"""A pattern for any of the commands."""
    return rf"\\(?:{alternatives(names.split())})(?![a-zA-Z])"


def alternatives(names: list[str] | frozenset[str]) -> str:
    """A pattern for any of the names, longest first, of which none has a character with a meaning in patterns."""
    return "|".join(sorted(names, key=lambda name: (-len(name), name)))


GREEK_ALPHABET = re.findall(
    r"\w+",
    """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
    Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega""",
)
GREEK = words("hbar ell") | frozenset(GREEK_ALPHABET)
VARIANTS = {"varepsilon": "epsilon", "varphi": "phi", "vartheta": "theta"}
FUNCTIONS = words(
    """sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth arcsinh arccosh arctanh ln log exp"""
)
OF_LISTS = words("max min gcd lcm")

STYLES = """boldsymbol bm pmb mathbf mathit mathsf mathtt textbf textit texttt textsc textsl emph underline mathop"""
TEXTS = "text mathrm textrm textnormal textsf textup mbox hbox operatorname rm"
DROPPED = "hspace vspace phantom hphantom vphantom label tag color textcolor colorbox"  # together with their argument
SWITCHES = """left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle scriptstyle
    limits nolimits tiny scriptsize footnotesize small normalsize large Large LARGE huge Huge rm bf it sf tt cal mathstrut strut
    hfill hline centering noindent quad qquad enspace thinspace"""
SYNONYMS = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "nicefrac", "sfrac", "xfrac"), r"\frac"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), r"\le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), r"\ge"),
    **dict.fromkeys(("neq", "not="), r"\ne"),
    **dict.fromkeys(("times", "ast", "bullet"), r"\cdot"),
    **dict.fromkeys(("lvert", "rvert", "vert"), "|"),
    **dict.fromkeys(("langle", "lparen"), "("),
    **dict.fromkeys(("rangle", "rparen"), ")"),
    **dict.fromkeys(("simeq", "approxeq", "doteq", "thickapprox"), r"\approx"),
    **dict.fromkeys(("smallsetminus", "backslash"), r"\setminus"),
    **dict.fromkeys(("dots", "cdots"), r"\ldots"),
    **{letter: rf"\mathbb{{{letter}}}" for letter in "ZRNQ"},
    **{"lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "lt": "<", "gt": ">", "colon": ":", "ratio": ":"},
    **{"prime": "'", "lg": r"\log_{10}", "tg": r"\tan", "ctg": r"\cot", "imath": "i", "mod": r"\bmod", "degrees": r"\degree"},
    **{"varnothing": r"\emptyset", "bigcup": r"\cup", "reals": r"\mathbb{R}", "land": r"\wedge", "lor": r"\vee", "top": "T"},
    **{name: rf"\{letter}" for name, letter in VARIANTS.items()},
    **dict.fromkeys(("rightarrow", "longrightarrow"), r"\to"),
    **{"euro": r"\text{euro}", "pounds": r"\text{pound sterling}", "cent": r"\text{cent}", "textdollar": r"\text{dollar}"},
}
# The subscripts of numbers that are written in another base, by its name.
BASES = {"two": "_2", "three": "_3", "four": "_4", "five": "_5", "six": "_6", "seven": "_7", "eight": "_8", "nine": "_9"}
BASES |= {"ten": "_{10}", "twelve": "_{12}", "sixteen": "_{16}"}
# Commands that are written without a backslash, as on a calculator.
TYPED = {name: name for name in (*FUNCTIONS, *GREEK, "sqrt", "pi") if name not in words("ell eta xi nu mu sec")}
TYPED |= (
    VARIANTS
    | {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
    | dict.fromkeys(("inf", "infinity", "Infinity", "oo"), "infty")
)
# Words of one to three letters that are no products of variables.
SHORT_WORDS = words(
    """no on yes all any not red men box cup day bag pen egg car cat dog pie toy hat key ten six two one the per now big odd few
    am pm is it in of to at if as by up an so we he go do us my me be old new boy bus cow hen pig way low net sq cu bc ad ce
    bce ii iv vi ix xi"""
)
