"""Words after a number: units, which may be left out, scale words, which multiply, and words that change what is meant."""

import re

# Spellings of one unit. Any other word counts as a unit of its own name (`apples`), in the singular.
_SPELLINGS = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "m": "meter metre", "km": "kilometer kilometre",
    "in": "inch inches", "ft": "foot feet", "yd": "yard", "mi": "mile", "mg": "milligram", "g": "gram gramme", "kg": "kilogram",
    "lb": "pound lbs", "oz": "ounce", "ml": "milliliter millilitre mL", "L": "liter litre l", "s": "sec second", "min": "minute",
    "h": "hr hour", "ms": "millisecond", "day": "d", "wk": "week", "mo": "month", "yr": "year", "deg": "degree",
    "degC": "celsius", "degF": "fahrenheit", "rad": "radian", "K": "kelvin", "N": "newton", "J": "joule", "kJ": "kilojoule",
    "W": "watt", "kW": "kilowatt", "V": "volt", "A": "ampere amp", "Hz": "hertz", "kHz": "kilohertz", "Pa": "pascal",
    "kPa": "kilopascal", "mol": "mole", "dollar": "USD usd", "cent": "", "euro": "EUR eur", "pound sterling": "GBP gbp", "yen": "JPY jpy",
    "rupee": "INR inr", "mi/h": "mph", "km/h": "kph kmh kmph", "mi/gal": "mpg", "gal": "gallon", "cal": "calorie", "kcal": "kilocalorie",
    "ha": "hectare", "person": "people", "child": "children", "man": "men", "woman": "women", "tooth": "teeth", "cup": "",
    "rev/min": "rpm", "rev": "revolution", "th": "st nd rd", "AD": "ad CE ce A.D.", "nm": "nanometer nanometre", "eV": "ev", "bit": "",
    "um": "micrometer micrometre", "us": "microsecond", "ns": "nanosecond", "t": "ton tonne", "dm": "decimeter decimetre",
}  # fmt: skip
UNITS = {spelling: unit for unit, others in _SPELLINGS.items() for spelling in (unit, *others.split())}
# Read as a unit without \text{} where a space and a number stand before it. Other single letters are variables.
LETTERS = ("m", "s", "g", "L")
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
# A number with one of these is another number, or no number: such an answer is compared whole.
_CHANGING = frozenset(
    """above ago after am and anticlockwise ante approximately at bc bce before below between by choose clockwise counterclockwise cubed
    decrease decreased decreasing deep down e each east eighth eighths else except factorial fewer fifth fifths fold for fourth fourths
    from gain greater gross half halves hundredth hundredths if in increase increased increasing larger later least left less loss lost
    lower millionth minus mod modulo more most n negative neither ninth ninths no none nor north northeast northwest not o'clock off old
    older on only or out over past plus pm point positive post power profit quarter quarters r rem remainder right s score seventh
    seventh sevenths short sixth sixths smaller south southeast southwest square squared tenth tenths than third thirds thousandth
    thousandths time times to twice under unless until up w west when where without x younger""".split()
) - frozenset(["in", "old", "square", "s", "each", "for", "time"])
_AREAS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_PART = re.compile(r"([^^]+)(?:\^(-?[0-9]))?")


def scale(words: str) -> tuple[int, str]:
    """The factor of the scale words that a phrase begins with, and the rest: "million dollars" is 10^6 and "dollars"."""
    factor, rest = 1, words.split()
    while rest and (known := SCALES.get(rest[0].lower().rstrip("."))):
        factor *= known
        rest = rest[1:]
    return factor, " ".join(rest).removeprefix("of ")


def unit(words: str) -> str | None:
    """The unit that a phrase names, in one spelling; None where it is no unit but changes what is meant. "" for "units"."""
    phrase = words.replace(".", "").strip()
    if not re.fullmatch(r"[^\W\d_][^{}\\,;=<>()\[\]]*", phrase):
        return None
    if phrase in UNITS:
        return UNITS[phrase]
    if any(word.lower() in _CHANGING for word in re.split(r"[ /*^-]", phrase)):
        return None
    phrase = phrase.replace(" per ", "/").replace(" / ", "/").replace("/ ", "/").replace(" /", "/").removesuffix(" old").strip()
    parts = [_one(part) for part in phrase.split("/")]
    return "/".join(parts).removesuffix("old").strip()


def _one(phrase: str) -> str:
    """One factor of a unit: "square meters" is m^2, "apples" is apple."""
    power, words = "", phrase.split()
    if words and words[0].lower() in _AREAS:
        power, words = _AREAS[words[0].lower()], words[1:]
    elif len(words) > 1 and words[-1].lower() in ("squared", "cubed"):
        power, words = "^2" if words[-1].lower() == "squared" else "^3", words[:-1]
    if not words:
        return ""
    *before, last = words
    match = _PART.fullmatch(last)
    name, exponent = (match[1], match[2]) if match else (last, None)
    name = _singular(name)
    if not before and name == "unit":
        return ""
    if exponent not in (None, "1"):
        power = f"^{exponent}"
    return " ".join([*(word.lower() for word in before), name]) + power


def _singular(name: str) -> str:
    for spelling in (name, name.lower(), name.lower().removesuffix("s")):
        if spelling in UNITS:
            return UNITS[spelling]
    lower = name.lower()
    if lower.endswith("ies") and len(lower) > 4:
        return lower[:-3] + "y"
    if lower.endswith(("ches", "shes", "xes", "sses")):
        return lower[:-2]
    return lower[:-1] if lower.endswith("s") and not lower.endswith("ss") and len(lower) > 3 else lower
