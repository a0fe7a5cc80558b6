r"""Answers that were written to break a grader: what `\boxed{}` could hold when a policy has learned to hurt its judge.

`HOSTILE` are at least 300 distinct strings. None is equivalent to any of the honest answers that the tests mix them with.
"""
# ruff: noqa: E501

_TOWERS = [
    r"9^{9^{9^9}}", r"2^{2^{2^{2^{2^{2}}}}}", r"7^{7^{7^{7}}}", "9**9**9**9", "10^{10^{100}}", r"(0,7^{7^{7^7}})", "2^{1000000000}",
    r"2^{1000000000} \mod 7", r"3^{10^{12}} \bmod 11", r"e^{e^{e^{e^{e}}}}", r"\left(\frac{1}{3}\right)^{10^{9}}", r"1.0000001^{10^{12}}",
    r"\sqrt[10^{9}]{10^{10^{9}}}", r"10^{-10^{10}}", r"99999999^{99999999}", r"(-1)^{10^{18}+7}\cdot 3^{10^8}", r"x^{10^{10}}-x^{10^{10}-1}",
    r"(x+1)^{100000}", r"(a+b+c+d)^{300}", r"\left((x+y)^{50}-(x-y)^{50}\right)^{20}", r"i^{10^{20}}+9^{9^9}", r"2\uparrow\uparrow 6",
    r"\log_{2}(9^{9^{9}})", r"\sin(9^{9^{9}})", r"\cos(10^{1000000})", r"\lfloor 9^{9^{9}}/7 \rfloor", r"0.5^{9^{9^{9}}}", r"\pi^{\pi^{\pi^{\pi}}}",
    r"|9^{9^9}|", r"\frac{9^{9^9}}{9^{9^8}}", r"9^{9^9}\%", r"x=9^{9^9}", r"\{9^{9^9}, 1\}", r"[0, 9^{9^9}]", r"9^{9^9} < x < 9^{9^{10}}",
]  # fmt: skip
_FACTORIALS = [
    "10000000!", "100000000!", r"((9!)!)!", r"\binom{10000000}{5000000}", r"\frac{10000000!}{9999999!}", "((((3!)!)!)!)!", r"170!!!!!!!!",
    r"\Gamma(10000000)", r"\binom{9^{9}}{9^{8}}", r"C(10^9, 5\cdot 10^8)", r"\prod_{k=1}^{1000000000} k", r"\prod_{n=1}^{\infty} n", r"(10^8)!",
    r"\binom{100000}{50000}\bmod 7", r"1000000!\%", r"x=5000000!", r"(-10000000)!", r"\frac{1}{20000000!}", r"\{1,20000000!\}", r"(1, 30000000!)",
]  # fmt: skip
_SUMS = [
    r"\sum_{k=1}^{1000000000} k^k", r"\sum_{k=1}^{1000000000} \frac{1}{k}", r"\sum_{n=1}^{10^{12}} \sin(n)", r"\sum_{n=0}^{\infty} n!",
    r"\sum_{i=1}^{10^6}\sum_{j=1}^{10^6} \frac{1}{i+j}", r"\int_0^1 e^{x^2}\sin(x^x)\,dx", r"\int_{-\infty}^{\infty} e^{-x^4+\sin x} dx",
    r"\int \frac{1}{x^{100}+x^{99}+1} dx", r"\int_0^{1}\int_0^{1}\int_0^{1} \frac{1}{1-xyz} dx dy dz", r"\lim_{x \to 0} \frac{\sin(\tan x)-\tan(\sin x)}{x^{70}}",
    r"\lim_{n\to\infty} \left(1+\frac{1}{n}\right)^{n^{n}}", r"\frac{d^{500}}{dx^{500}} e^{e^{x}}", r"\prod_{k=2}^{1000000}\left(1-\frac{1}{k^2}\right)",
    r"\sum_{p\ \text{prime}} \frac{1}{p}", r"\sum_{k=1}^{n} k^{1000}", r"\int_0^\pi \ln(\sin(x^{x^{x}})) dx", r"\sum_{k=1}^{100000} \sqrt{k}",
    r"\sum_{k=1}^{1000000} \{k\}", r"\int_0^{9^{9^9}} x dx", r"\sum_{k=1}^{9^{9}} 1",
]  # fmt: skip
_NESTS = [
    "(" * depth + "1" + ")" * depth for depth in (30, 100, 300, 900)
] + [
    opening * depth + "1" + closing * depth
    for opening, closing in ((r"\frac{1}{1+", "}"), (r"\sqrt{", "}"), ("{", "}"), ("-(", ")"), (r"\left(", r"\right)"), (r"\{", r"\}"), ("[", "]"), ("|", "|"))
    for depth in (20, 60, 150)
] + [
    "(" * 1900, ")" * 1900, "[" * 1000 + "(" * 900, "{" * 1500, "}" * 1500, r"\{" * 900, r"\frac" * 390, r"\sqrt" * 390, r"\left" * 390,
    "-" * 1999 + "1", "+" * 1999, "!" * 1999, "1" + "!" * 40, "^" * 1999, "_" * 1999, "x_" * 900, "x^" * 900, "1^{" * 600, "2^" * 800 + "2", "1/" * 900 + "1",
    "1+" * 900 + "1", "x*" * 900 + "x", r"1\cdot" * 300 + "1", "1," * 900 + "1", "=" * 1999, "x=" * 900 + "1", "1<" * 900 + "2", "|" * 1999, "||x||" * 300,
    r"\circ" * 380, r"\%" * 900, "1%" * 900, "'" * 1999, r"f'" * 600, r"\text{" * 300 + "a" + "}" * 300, r"\mathrm{" * 200 + "a" + "}" * 200,
    r"\begin{pmatrix}" * 100, r"\overline{" * 150 + "1" + "}" * 150, r"\binom{" * 100 + "5" + "}{2}" * 100, r"\log" * 480, r"\sin" * 480 + "1", r"\frac12" * 250,
]  # fmt: skip
_LONG = [
    "9" * 1_999, "9" * 2_001, "1" * 1_000_000, "0." + "3" * 1_900, "0." + "3" * 100_000, "1e" + "9" * 50, "1E" + "9" * 9, "10E99999999", "1.5E-99999999", "0x" + "f" * 1_500,
    "7" * 4_400 + "/" + "3" * 4_400, r"\frac{" + "1" * 950 + "}{" + "3" * 950 + "}", "x" * 10_000_000, "\\boxed{" * 300_000, "a" * 1_999, "ab " * 660, " " * 1_000_000 + "x",
    r"\{" + ",".join(map(str, range(2000))) + r"\}", r"\{" + ",".join(map(str, range(450))) + r"\}", "(" + ",".join(map(str, range(440))) + ")",
    "1,000" * 390, "1" + ",000" * 490, "-" + "8" * 1_998, "1:" * 900 + "1", "1 " * 990, r"\pi" * 650, "abcdefghijklmnopqrstuvwxyz" * 70, "x+y" * 600, "xyz^2" * 390,
]  # fmt: skip
_MATRICES = [
    r"\begin{pmatrix}" + r"\\".join(["&".join(["x"] * 25)] * 25) + r"\end{pmatrix}",
    r"\begin{bmatrix}" + r"\\".join(["&".join(f"a_{{{i}{j}}}" for j in range(9)) for i in range(9)]) + r"\end{bmatrix}^{-1}",
    r"\det\begin{pmatrix}" + r"\\".join(["&".join(f"x^{{{i}}}+{j}" for j in range(9)) for i in range(9)]) + r"\end{pmatrix}",
    r"\begin{pmatrix}1&1\\1&0\end{pmatrix}^{1000000000}", r"\begin{pmatrix}1&2\\3\end{pmatrix}", r"\begin{pmatrix}\end{pmatrix}", r"\begin{pmatrix}1&2", r"\end{pmatrix}",
    r"\begin{array}{" + "c" * 500 + r"}1\end{array}", r"\begin{pmatrix}9^{9^9}&0\\0&1\end{pmatrix}", r"\begin{cases}x&x>0\\-x&x<0\end{cases}", r"\begin{matrix}" * 50 + "1" + r"\end{matrix}" * 50,
]  # fmt: skip
_CONTROL = [chr(code) * 3 + "8" for code in (*range(0, 9), *range(14, 28), 127)] + [
    "\x00", "5\x007", "\x1b[2J\x1b[31mwin", "\ud800", "4\ud8002", "\u202e24", "\u2066\u2067\u2068\u2069", "\u200b\u200b\u200b", "\ufeff9", "\u0661\u0662\u0663\u0664", "Z\u0351\u036b\u0343" * 200,
    "\U0001f600" * 400, "\u221e\u221e", "\u2460\u2461", "\u00bd\u00be", "\uff11\uff12", "\u00b2\u00b3", "\u4e03\u5341", "\ufdfa" * 300, "\u0130\u0131", "\u1e9e", "\u2028\u2029", "\r\n\r\n7\r\n",
    "\t\t\t", "\\", "\\\\", "\\\\\\", "$", "$$", "$$$", "%", "&", "#", "~", "_", "^", "{", "}", "{}", "{{}}", "\\{", "\\}", "()", "[]", "(]", "[)", "||", "''", '""', "``", "?", "!", ",", ";", ":", ".", "..", "...", "-", "--", "+", "/", "//", "*", "**", "=", "==", "<", ">", "<=", "@",
]  # fmt: skip
_CODE = [
    "__import__('os').system('touch /tmp/pwned')", "open('/etc/passwd').read()", "exec('import os')", "eval('9**9**9')", "(lambda: 0)()", "[x for x in ().__class__.__bases__[0].__subclasses__()]",
    "import os; os.fork()", "while True: pass", "exit()", "quit()", "os._exit(0)", "sys.exit(0)", "raise SystemExit", "print(42)", "None", "NaN", "nan", "null", "undefined", "True", "False", "zoo", "oo", "-oo",
    "inf", "-inf", "Infinity", "0/0", r"\frac{0}{0}", r"\frac{1}{0}", "1/0", r"\infty-\infty", r"\infty/\infty", "0^0", r"\log(0)", r"\tan(\pi/2)", r"\emptyset", r"\varnothing", "E", "I", "S", "N", "O(1)", "Q",
    "range(10**12)", "'a'*10**10", "list(range(10**9))", "10**10**10", "1<<10**10", "(1).__class__", "{}.format", "{0.__class__}", "%s%s%s%n", "$(reboot)", "`reboot`", "; rm -rf /", "../../etc/passwd", "<script>alert(1)</script>",
    "<|im_end|>", "<|endoftext|>", "</question>", "<question>1</question>", '"}\n{"x": 1', "R\x01", "1 ", "0 ", "k", '["1", "1"]', "equal", "\n1 \n", "sympify('9**9')", "Symbol('x')", "Integer(9)**Integer(9)**Integer(9)", "factorial(10**8)",
]  # fmt: skip
_MACROS = [
    r"\def\a{\a\a}\a", r"\newcommand{\x}{\x\x}\x", r"\let\b\b\b", r"\input{/etc/passwd}", r"\include{x}", r"\write18{ls}", r"\immediate\write18{touch x}", r"\openin5=/etc/passwd", r"\catcode`\{=11", r"\loop\iftrue\repeat",
    r"\csname end\endcsname", r"\expandafter\expandafter", r"\begin{verbatim}", r"\end{document}", r"\usepackage{evil}", r"\special{x}", r"\hspace{1000000000pt}", r"\rule{1e9pt}{1e9pt}", r"\undefinedmacro{1}", r"\left.\right.",
    r"\boxed{\boxed{\boxed{77}}}", r"\boxed{1}\boxed{2}", r"\boxed{}", r"\boxed", r"\fbox{9}", r"\boxed{\boxed{1}", r"}\boxed{3", r"1}{2}", r"\text{\boxed{5}}", r"\boxed{" * 100 + "1" + "}" * 100,
    r"\text{the answer is } 42 \text{ or not}", r"\text{I cannot answer this}", r"\text{}", r"\phantom{1}", r"\color{red}{1}", r"\href{http://example.org}{1}", r"\ce{H2O}", r"\SI{5}{\meter}", r"\verb|1|", r"\mathchoice{1}{2}{3}{4}",
]  # fmt: skip
_HARD = [
    r"\sqrt{" + "+".join(rf"\sqrt{{{n}}}" for n in range(2, 40)) + "}", "+".join(rf"\frac{{1}}{{x^{n}+{n}}}" for n in range(1, 30)), r"\sqrt[3]{2+\sqrt{5}}+\sqrt[3]{2-\sqrt{5}}+\sqrt[7]{3}",
    r"x^{20}+y^{20}+z^{20}-(x+y+z)^{20}", r"\sin(x)^{30}\cos(x)^{30}\tan(x)^{30}", "*".join(f"(x-{n})" for n in range(1, 90)), "+".join(rf"\sin({n}x)\cos({n}y)" for n in range(1, 30)),
    r"\{x \mid x^{100}-x-1=0\}", r"x^{50}+x^{49}+7=0", r"\sin(x)+x^{x}=2", r"e^{x}+\ln(x)+x^{7}=3", r"x^5-x-1<0", r"\{(x,y): x^{10}+y^{10}<1\}", r"(x^2+1)^{200}=0", r"a^2+b^2+c^2+d^2=e^2+f^2",
    r"\gcd(10^{50}+7, 3^{200}+2)", r"\operatorname{lcm}(1,2,\ldots,1000000)", r"\phi(10^{60}+7)", r"\zeta(3+14i)", r"\sum_{d|10^{40}+9} d", r"\frac{\Gamma(1/7)^{9}}{\pi^{4}}-e^{\pi\sqrt{163}}",
    r"(1,2)\cup(2,3)\cup(9^9,9^{10})", r"\mathbb{R}\setminus\{" + ",".join(map(str, range(60))) + r"\}", r"[0,1]\cap[1/2,\sqrt{2}]\cap\mathbb{Q}", r"(-\infty, 9^{99})\cup(9^{99},\infty)",
]  # fmt: skip

HOSTILE: list[str] = _TOWERS + _FACTORIALS + _SUMS + _NESTS + _LONG + _MATRICES + _CONTROL + _CODE + _MACROS + _HARD
