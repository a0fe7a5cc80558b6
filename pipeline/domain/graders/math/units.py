"""Words after a number: units, which may be left out, scale words, which multiply, and words that change what is meant."""

import re

from pipeline.domain.graders.math.vocabulary import words

# Spellings of one unit. Any other word counts as a unit of its own name (`apples`), in the singular.
_SPELLINGS = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "dm": "decimeter decimetre", "m": "meter metre",
    "km": "kilometer kilometre", "um": "micrometer micrometre", "nm": "nanometer nanometre", "in": "inch inches",
    "ft": "foot feet", "yd": "yard", "mi": "mile", "mg": "milligram", "g": "gram gramme", "kg": "kilogram",
    "t": "ton tonne", "lb": "pound lbs", "oz": "ounce", "ha": "hectare", "ml": "milliliter millilitre mL",
    "L": "liter litre l", "gal": "gallon", "cup": "", "us": "microsecond", "ns": "nanosecond", "ms": "millisecond",
    "s": "sec second", "min": "minute", "h": "hr hour", "day": "d", "wk": "week", "mo": "month", "yr": "year",
    "deg": "degree", "rad": "radian", "degC": "celsius", "degF": "fahrenheit", "K": "kelvin", "N": "newton",
    "J": "joule", "kJ": "kilojoule", "cal": "calorie", "kcal": "kilocalorie", "eV": "ev", "W": "watt",
    "kW": "kilowatt", "V": "volt", "A": "ampere amp", "Hz": "hertz", "kHz": "kilohertz", "Pa": "pascal",
    "kPa": "kilopascal", "mol": "mole", "bit": "", "dollar": "USD usd", "cent": "", "euro": "EUR eur",
    "pound sterling": "GBP gbp", "yen": "JPY jpy", "rupee": "INR inr", "mi/h": "mph", "km/h": "kph kmh kmph",
    "mi/gal": "mpg", "rev": "revolution", "rev/min": "rpm", "person": "people", "child": "children", "man": "men",
    "woman": "women", "tooth": "teeth", "th": "st nd rd", "AD": "ad CE ce A.D.",
}  # fmt: skip
UNITS = {spelling: unit for unit, others in _SPELLINGS.items() for spelling in (unit, *others.split())}
# Read as a unit without \text{} where a space and a number stand before it. Other single letters are variables.
LETTERS = ("m", "s", "g", "L")
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
SCALES |= {"万": 10**4, "亿": 10**8, "千": 10**3, "百": 10**2}
SCALES |= {"ten": 10, "mn": 10**6, "bn": 10**9, "quadrillion": 10**15, "lakh": 10**5, "crore": 10**7}
# A number with one of these is another number, or no number: such an answer is compared whole.
_CHANGING = words(
    """above after ago am and ante anticlockwise approximately at bc bce before below between by choose clockwise
    counterclockwise decrease decreased decreasing deep down e east eighteenth eighteenths eighth eighths eleventh
    elevenths else except factorial fewer fifteenth fifteenths fifth fifths fold fourteenth fourteenths fourth fourths
    from gain greater gross half halves hundredth hundredths if increase increased increasing k larger later least
    left less loss lost lower millionth minus mod modulo more most n negative neither nineteenth nineteenths ninth
    ninths no none nor north northeast northwest not o'clock off older on only or out over past plus pm point positive
    post power profit quarter quarters r rem remainder right score seventeenth seventeenths seventh sevenths short
    sixteenth sixteenths sixth sixths smaller south southeast southwest tenth tenths than third thirds thirteenth
    thirteenths thousandth thousandths times to twelfth twelfths twentieth twentieths twice under unless until up w
    west when where without x younger base binary octal hexadecimal decimal pi root roots radical noon midnight even odd
    prime is are ppm ppb doubled tripled halved inward inwards outward outwards downward downwards upward upwards
    january february march april may june july august september october november december jan feb mar apr
    jun jul aug sep sept oct nov dec"""
)
_CHANGING_PARTS = re.compile(r"以上|以下|以内|月|分之|倍|点|^[rR][0-9]")
_AREAS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_SCALE_OF_HEAT = re.compile(r"(?i:deg(?:rees?)?) ?((?i:[cf]))(?i:elsius|ahrenheit)?$")
_BELOW = re.compile(r"/ ?\(([a-zA-Z0-9^ -]*)\)")
_FACTOR = re.compile(r"(^|/| |\*)([a-zA-Z]+)(?:\^(-?[0-9]))?")
_PART = re.compile(r"([^^]+)(?:\^(-?[0-9]))?")


def scale(phrase: str) -> tuple[int, str]:
    """The factor of the scale words that a phrase begins with, and the rest: "million dollars" is 10^6 and "dollars"."""
    factor, rest = 1, phrase.split()
    while rest and (known := SCALES.get(rest[0].lower().rstrip(".").removesuffix("s"))):
        factor *= known
        rest = rest[1:]
    return factor, " ".join(rest).removeprefix("of ")


def unit(text: str) -> str | None:
    """The unit that a phrase names, in one spelling; None where it is no unit but changes what is meant. "" for "units"."""
    phrase = text.replace(".", "").replace("-old", " old").replace(r"\cdot", " ").strip()
    phrase = _SCALE_OF_HEAT.sub(lambda match: f"deg{match[1].upper()}", phrase)
    phrase = _BELOW.sub(lambda match: "/" + "/".join(match[1].split()), phrase)  # J/(mol K)
    if not re.fullmatch(r"[^\W\d_][^{}\\,;=<>()\[\]]*", phrase):
        return None
    if phrase in UNITS:
        return UNITS[phrase]
    if product := _product(phrase.replace(" per ", "/").replace(" / ", "/")):
        return product
    first, *others = (word.lower() for word in re.split(r"[ /*^-]", phrase))
    if first in ("squared", "cubed") or _CHANGING_PARTS.search(phrase) or not _CHANGING.isdisjoint([first, *others]):
        return None
    phrase = phrase.replace(" per ", "/").replace(" / ", "/").replace("/ ", "/").replace(" /", "/").removesuffix(" old").strip()
    parts = [_one(part) for part in phrase.split("/")]
    return "/".join(parts).removesuffix("old").strip()


def _product(phrase: str) -> str:
    r"""A product of known units and their powers in one order, `m s^-1` as `m/s`; "" for anything else."""
    powers: dict[str, int] = {}
    factors = [*_FACTOR.finditer(phrase)]
    if "".join(match[0] for match in factors) != phrase or not all(_singular(match[2]) in UNITS for match in factors):
        return ""
    for match in factors:
        name, power = _singular(match[2]), int(match[3] or 1) * (-1 if match[1] == "/" else 1)
        powers[name] = powers.get(name, 0) + power
    above = [_raised(name, power) for name, power in sorted(powers.items()) if power > 0]
    return "/".join([" ".join(above), *(_raised(name, -power) for name, power in sorted(powers.items()) if power < 0)])


def _raised(name: str, power: int) -> str:
    return name if power == 1 else f"{name}^{power}"


def _one(phrase: str) -> str:
    """One factor of a unit: "square meters" is m^2, "apples" is apple."""
    power, parts = "", phrase.split()
    if parts and parts[0].lower() in _AREAS:
        power, parts = _AREAS[parts[0].lower()], parts[1:]
    elif len(parts) > 1 and parts[-1].lower() in ("squared", "cubed"):
        power, parts = "^2" if parts[-1].lower() == "squared" else "^3", parts[:-1]
    if not parts:
        return ""
    *before, last = parts
    match = _PART.fullmatch(last)
    name, exponent = (match[1], match[2]) if match else (last, None)
    name = _singular(name)
    if not before and name == "unit":
        return ""
    if exponent not in (None, "1"):
        power = f"^{exponent}"
    return " ".join([*(word.lower() for word in before), name]) + power


def _singular(name: str) -> str:
    """The unit or noun in the singular. Case counts in abbreviations: Mg is not mg."""
    lower = name.lower() if len(name) > 3 else name
    for spelling in (name, name.removesuffix("s"), lower, lower.removesuffix("s")):
        if spelling in UNITS:
            return UNITS[spelling]
    if lower.endswith("ies") and len(lower) > 4:
        return lower[:-3] + "y"
    if lower.endswith(("ches", "shes", "xes", "sses")):
        return lower[:-2]
    return lower[:-1] if lower.endswith("s") and not lower.endswith("ss") and len(lower) > 3 else lower
