"""Mathematics in an answer: kept to the letter for the front end, unless it would act beyond the answer."""

from __future__ import annotations

import html

import pytest

from llm_failover_nb.notebook.markdown import markdown_html, reaches_out


@pytest.mark.parametrize(
    "formula",
    [
        r"$10^{27}\,\mathrm{kg}$",
        r"$a_1*b_1 + c_1*d_1$",
        r"$\{1, 2\}$",
        r"\(a_1 < b_1\)",
        r"\[\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}\]",
        "$$\na \\\\\nb\n$$",
        r"\begin{align*}a &= b \\ c &= d\end{align*}",
        r"$5 \$ a\,b$",
    ],
)
def test_mathematics_is_kept(formula: str) -> None:
    """Markdown takes nothing in a formula for its own."""
    assert f"<p>so {html.escape(formula)} and <em>on</em></p>\n" == markdown_html(f"so {formula} and *on*")


@pytest.mark.parametrize(
    "text", ["$5 and *10* $", "*5$ or 6*", "$ *a* $", "costs $5, *not* $6", r"\( *a*", "$a `b$` *c*"]
)
def test_what_is_no_mathematics(text: str) -> None:
    """Money, and an opening without its end, leave Markdown as it is."""
    assert "<em>" in markdown_html(text) or "<code>" in markdown_html(text)


@pytest.mark.parametrize(
    "tex",
    [
        r"\renewcommand{\leq}{\geq}",
        r"\let\alpha\omega",
        *(rf"\{name}\x{{y}}" for name in ("def", "gdef", "edef", "xdef", "newcommand", "providecommand")),
        r"\newenvironment{a}{b}{c}",
        r"\renewenvironment{a}{b}{c}",
        r"\DeclareMathOperator{\x}{y}",
        r"\DeclareMathOperator*{\x}{y}",
        r"\DeclarePairedDelimiters{\x}{y}{z}",
        r"\definecolor{red}{rgb}{0,1,0}",
        r"\require{html}",
        r"\rule{900em}{900em}",
        r"\Rule{900em}{900em}{0em}",
        r"\kern900em",
        r"\kern-90em",
        r"\mkern9000mu",
        r"\hspace{900em}",
        r"\hspace*{-90em}",
        r"\vspace{900em}",
        r"\raise900em{x}",
        r"\unicode{x202e}",
    ],
)
@pytest.mark.parametrize("around", ["${}$", r"\({}\)", "$$\n{}\n$$", "**a** {}"])
def test_reaching_tex(tex: str, around: str) -> None:
    """Definitions, settings, and sizes beyond what a formula needs are found however they are written."""
    assert reaches_out(markdown_html(around.replace("{}", tex, 1)))


@pytest.mark.parametrize("text", ["$ \\d&#101;f $", "&#92;def", r"a \\def b", r"$\\\def\x{y}$"])
def test_hidden_tex(text: str) -> None:
    """What becomes such TeX only by Markdown is found too: it is looked for in what the front end reads."""
    assert reaches_out(markdown_html(text))


@pytest.mark.parametrize(
    "tex",
    [
        r"\frac{a}{b} \leq \sqrt{x} \left( \sum_{i=1}^n x_i \right) \rightarrow \mathbb{R}",
        r"\begin{aligned} a &= b \\[2pt] c &= d \end{aligned}",
        r"\text{if } x \quad \hspace{1em} \hspace{0.5cm} \, \neq \nexists \nu \newline \letter \rulex",
        r"a \\let b \\rule c",
        r"\operatorname{rank}(A) \label{eq:1} \tag{1} \color{red}{x} \definition",
    ],
)
def test_ordinary_mathematics(tex: str) -> None:
    """Formulas as models write them reach nothing."""
    assert not reaches_out(markdown_html(f"$${tex}$$"))


@pytest.mark.parametrize("text", [r"write `\newcommand`", "```tex\n\\def\\x{y}\n```", "    \\let\\a\\b"])
def test_tex_in_code(text: str) -> None:
    """TeX that is shown as code is not read as TeX."""
    assert not reaches_out(markdown_html(f"{text}\n\nand $a \\leq b$"))
