"""The look of an output: one style sheet, which holds inside our own outputs alone. Nothing but CSS.

JupyterLab's variables bring the colours of its themes; elsewhere the colours are those of the text around.
Every rule names its class twice: JupyterLab loads the style of a theme anew when the theme is switched, and
what is only as specific as that would lose to it from then on.
"""

from __future__ import annotations

__all__ = ["LIVE_STYLE", "STYLE"]

# `&` stands for the class of our outputs, named twice.
_BASE = """
&{--lf-ink:var(--jp-content-font-color1,currentColor);
--lf-line:var(--jp-border-color2,color-mix(in srgb,var(--lf-ink) 25%,transparent));
--lf-soft:color-mix(in srgb,var(--lf-ink) 6%,transparent);
color:var(--lf-ink);overflow-wrap:anywhere;max-width:100%;padding:0 var(--jp-code-padding,5px)}
& .lf-small{font-size:.9em;line-height:1.5;color:color-mix(in srgb,var(--lf-ink) 78%,transparent)}
& .lf-small p{margin:0}
& .lf-live{white-space:pre-wrap;font-family:inherit;font-size:inherit;background:none;color:inherit;
margin:0;padding:0}
& p.lf-small{margin:.35em 0}
"""

# The seconds of a wait are counted in the browser, from 2 s on: no message is sent for them.
_LIVE = """
& del{opacity:.75}
& .lf-tail{display:flex;flex-direction:column-reverse;max-height:4.6em;overflow:hidden;
border-left:2px solid var(--lf-line);padding-left:.7em;margin:.2em 0 .5em;white-space:pre-wrap}
@property --lf-seconds{syntax:"<integer>";inherits:false;initial-value:0}
@keyframes lf-count{to{--lf-seconds:3600}}
@keyframes lf-appear{to{opacity:1}}
& .lf-wait::after{counter-reset:lf-seconds var(--lf-seconds);content:" " counter(lf-seconds) " s";opacity:0;
animation:lf-count 3600s steps(3600) forwards,lf-appear .01s 2s forwards}
"""

_WHOLE = """
& .lf-small b{font-weight:600}
& .lf-foot{border-top:1px solid var(--lf-line);margin-top:.7em;padding-top:.4em}
& .lf-stats span:not(:last-child)::after{content:"\\00b7";padding:0 .25em 0 .5em}
& .lf-badge{display:inline-block;font-weight:600;line-height:1.4;padding:0 .55em;margin-right:.35em;
border-radius:.8em;color:var(--lf-ink);
background:color-mix(in srgb,var(--jp-info-color1,#0a84b8) 15%,transparent);
border:1px solid color-mix(in srgb,var(--jp-info-color1,#0a84b8) 45%,transparent)}
& .lf-note{border-left:3px solid var(--jp-warn-color1,#b26a00);padding:.1em .7em;margin:.5em 0}
& .lf-failed{border-left-color:var(--jp-error-color1,#c62828)}
& details{margin:.2em 0 0}
& summary{cursor:pointer;width:fit-content}
& .lf-thought{margin:0 0 .5em}
& .lf-thought>div{border-left:2px solid var(--lf-line);padding:.1em 0 .1em .7em;margin:.3em 0 .6em}
& .lf-legend{margin-top:.5em}
& .lf-legend span{white-space:nowrap;margin-right:1.1em}
& samp{font-family:var(--jp-code-font-family,monospace);font-size:.95em;white-space:pre-wrap}
& .lf-box{container-type:inline-size;overflow-x:auto;margin:.4em 0}
& .lf-box+p{margin-top:.8em}
& .lf-table{border-collapse:collapse;table-layout:auto;width:100%;margin:0;font-size:1em;line-height:1.45;
color:inherit;overflow-wrap:break-word}
& .lf-table tbody tr:nth-child(n){background:none}
& .lf-table th,& .lf-table td{text-align:left;vertical-align:top;white-space:normal;
padding:.3em .9em .3em 0;border:0;border-bottom:1px solid var(--lf-line);background:none}
& .lf-table th{font-weight:600;white-space:nowrap}
& .lf-table .lf-said{overflow-wrap:anywhere}
& .lf-table .lf-mark{padding-left:1.3em;text-indent:-1.3em}
& .lf-table .lf-mark>span{display:inline-block;width:1.3em;text-indent:0}
& .lf-table .lf-mark.lf-name{white-space:nowrap}
& .lf-table .lf-typed{width:45%}
& .lf-table .lf-typed samp{white-space:pre}
& .lf-table .lf-name samp,& .lf-table .lf-mark.lf-name{white-space:nowrap}
@container (max-width:560px){
& .lf-table,& .lf-table tbody,& .lf-table tr,& .lf-table td{display:block;width:auto}
& .lf-table thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
& .lf-table tr{border-bottom:1px solid var(--lf-line);padding:.4em 0;text-align:left}
& .lf-table td{border:0;padding-top:.05em;padding-bottom:.05em}
& .lf-table td:first-child{font-weight:600}
& .lf-table td[data-label]::before{content:attr(data-label) ": ";opacity:.7}
& .lf-table .lf-typed{width:auto}
& .lf-table .lf-typed samp{white-space:pre-wrap}
& .lf-table .lf-place,& .lf-table .lf-place+td{display:inline;font-weight:600}
& .lf-table .lf-place+td[data-label]::before{content:none}
& .lf-table .lf-mark[data-label]{padding-left:0;text-indent:0}}
& .lf-answer{overflow-x:auto;overflow-y:hidden}
& .lf-answer>:first-child{margin-top:.2em}
& .lf-answer>:last-child{margin-bottom:0}
& .lf-answer+.lf-small:not(.lf-foot){margin-top:.4em}
& .lf-answer code{background:var(--lf-soft);padding:.1em .25em}
& .lf-answer pre{background:var(--lf-soft);padding:.6em .8em;overflow-x:auto;line-height:1.45}
& .lf-answer pre code{padding:0;background:none;white-space:pre}
& .lf-k{color:var(--jp-mirror-editor-keyword-color,inherit);font-weight:600}
& .lf-a{color:var(--jp-mirror-editor-atom-color,inherit)}
& .lf-b{color:var(--jp-mirror-editor-builtin-color,inherit)}
& .lf-d{color:var(--jp-mirror-editor-def-color,inherit)}
& .lf-s{color:var(--jp-mirror-editor-string-color,inherit)}
& .lf-n{color:var(--jp-mirror-editor-number-color,inherit)}
& .lf-c{color:color-mix(in srgb,var(--jp-mirror-editor-comment-color,var(--lf-ink)) 70%,var(--lf-ink));
font-style:italic}
& .lf-m{color:var(--jp-mirror-editor-meta-color,inherit)}
& .lf-frame{height:26em;min-height:6em;resize:vertical;overflow:hidden;border:1px solid var(--lf-line);
background:#fff}
& .lf-frame iframe{display:block;width:100%;height:100%;border:0;background:#fff}
"""


def _sheet(*parts: str) -> str:
    rules = "".join(parts).replace("&", ".llm-failover.llm-failover").strip()
    return f"<style>\n{rules}\n</style>"


LIVE_STYLE = _sheet(_BASE, _LIVE)
"""For an answer that is still coming: short, since it is sent with every update."""

STYLE = _sheet(_BASE, _WHOLE)
"""For everything that stays."""
