"""How the page looks: on paper and screen, by day and night, wide and narrow."""

from typing import Final

from medistill.report.markup import Html

STYLE: Final = Html(
    """
:root {
  color-scheme: light dark;
  --paper: #fdfdfb; --ink: #1b1d1f; --muted: #5d6266; --hair: #dcdcd6;
  --series-0: #0067a5; --series-1: #c8500a; --series-2: #00785a; --series-3: #a8488b;
  --series-4: #8f6a00; --series-5: #4b5aa8; --alert: #a3210f;
  --serif: Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --ink: #e6e6e1; --muted: #a0a6ab; --hair: #353a3f;
    --series-0: #62b5ee; --series-1: #f08a3c; --series-2: #3dc49c; --series-3: #dd92c4;
    --series-4: #d9b13a; --series-5: #9aa8f0; --alert: #ff8f7a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.55 var(--serif); font-variant-numeric: lining-nums tabular-nums;
}
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.25rem 4rem; }
h1 {
  font-size: 2.4rem; line-height: 1.15; margin: 0 0 1rem; font-weight: 600;
  overflow-wrap: anywhere;
}
h2 {
  font-size: 1.5rem; font-weight: 600; margin: 3.5rem 0 1rem; padding-top: .9rem;
  border-top: 2px solid var(--ink); overflow-wrap: anywhere;
}
h3 { font-size: 1.12rem; font-weight: 600; margin: 2.4rem 0 .6rem; }
h2 + h3 { margin-top: 0; }
p { margin: .5rem 0 .8rem; max-width: 44rem; overflow-wrap: anywhere; }
small { font-size: .78rem; color: var(--muted); font-weight: 400; }
a { color: var(--series-0); }
.n { white-space: nowrap; }
.kicker {
  font: 600 .74rem/1 var(--sans); letter-spacing: .09em; text-transform: uppercase;
  color: var(--muted); margin: 0 0 1rem;
}
.lede { font-size: 1.2rem; line-height: 1.5; max-width: 48rem; }
.lede .n { white-space: normal; }
.quiet, .verdict { font: .88rem/1.5 var(--sans); color: var(--muted); }
.verdict { color: inherit; border-left: 3px solid var(--series-0); padding-left: .75rem; }
.stamp {
  display: inline-block; margin: 0 0 1rem; padding: .35rem .7rem; color: var(--alert);
  border: 2px solid; border-radius: 2px; font: 600 .92rem/1.4 var(--sans);
}
.key { display: flex; flex-wrap: wrap; gap: 1rem 3.2rem; margin: 1.8rem 0 .6rem; }
.key dt { font: 600 .84rem/1.4 var(--sans); }
.key dd { margin: 0; font: .82rem/1.5 var(--sans); color: var(--muted); }
.key .large { font: 600 2.5rem/1.15 var(--serif); color: var(--series-0); }
.scroll { overflow-x: auto; margin: .8rem 0 1.2rem; }
table { border-collapse: collapse; font: .88rem/1.4 var(--sans); }
caption > span { position: sticky; left: 0; display: inline-block;
  max-width: min(44rem, calc(100vw - 2.6rem)); }
caption { text-align: left; color: var(--muted); font-size: .82rem; padding-bottom: .5rem; }
th, td { padding: .4rem .95rem .4rem 0; text-align: left; vertical-align: top; font-weight: 400; }
thead th { color: var(--muted); border-bottom: 1px solid var(--ink); vertical-align: bottom; }
tbody tr { border-bottom: 1px solid var(--hair); }
tbody th, thead th:first-child { position: sticky; left: 0; background: var(--paper); }
tbody th { font-weight: 500; max-width: 18rem; }
td { white-space: nowrap; }
.figured td, .figured thead th:not(:first-child) {
  text-align: right; padding: .4rem 0 .4rem 1.4rem; }
th small, td small { display: block; }
.results { width: 100%; }
.results > table { width: auto; }
.results .value { font-weight: 600; }
.who { white-space: nowrap; }
.who::before { content: ""; display: inline-block; width: .6em; height: .6em; margin-right: .45em;
  border-radius: 50%; background: var(--muted); }
.series-0::before { background: var(--series-0); }
.series-1::before { background: var(--series-1); }
.series-2::before { background: var(--series-2); }
.series-3::before { background: var(--series-3); }
.series-4::before { background: var(--series-4); }
.series-5::before { background: var(--series-5); }
.who { color: var(--ink); font-weight: 600; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start; }
.pair > * { flex: 0 1 auto; width: auto; max-width: 100%; }
.confusion td, .confusion thead th { text-align: center; padding: .5rem .7rem; min-width: 4.5rem; }
.confusion tbody th, .confusion thead th:first-child { text-align: left; padding-left: 0; }
.confusion td { border: 2px solid var(--paper); }
.confusion .right { background: color-mix(in srgb, var(--series-0) var(--share), transparent); }
.confusion .wrong { background: color-mix(in srgb, var(--series-1) var(--share), transparent); }
.confusion td small { color: inherit; }
.confusion thead th, .confusion tbody tr { border: 0; }
.confusion tbody th { vertical-align: middle; }
.confusion .all { color: var(--muted); }
figure { margin: 0; min-width: 0; }
figcaption { font: .82rem/1.45 var(--sans); color: var(--muted); margin-top: .4rem; }
svg { display: block; width: 100%; height: auto; }
.pair > .beside { flex: 1 1 22rem; display: flex; flex-wrap: wrap; gap: 1rem 3rem; }
.beside > * { flex: 1 1 20rem; } .beside > figure { max-width: 27rem; }
.figures { display: grid; gap: 1.6rem 1.8rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }
.figures.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.figures.one { grid-template-columns: 1fr; }
.figures img { display: block; max-width: 100%; height: auto; }
.mistakes { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.mistakes img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: #000; }
.mistakes figcaption { color: var(--ink); overflow-wrap: anywhere; }
.mistakes figcaption small { display: block; }
.slices { display: grid; gap: 1.4rem 1.6rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.slices img { display: block; width: 100%; height: auto; background: #000; }
.slices figcaption { color: var(--ink); overflow-wrap: anywhere; }
.slices small { display: block; }
.outlines { font: .82rem/1.6 var(--sans); }
.outline { margin-right: 1.1em; white-space: nowrap; }
.outline::before { content: ""; display: inline-block; width: .8em; height: .8em;
  margin-right: .4em; background: var(--outline); border: 1px solid var(--muted);
  vertical-align: -.08em; }
.findings { list-style: none; padding: 0; font: .88rem/1.5 var(--sans); max-width: 48rem; }
.findings li { display: grid; grid-template-columns: 5rem 1fr;
  padding: .3rem 0; border-bottom: 1px solid var(--hair); overflow-wrap: anywhere; }
.findings b { font-weight: 600; }
.findings .error, .findings .warning { color: var(--alert); }
.findings .note { color: var(--muted); }
details { margin: .6rem 0; }
summary { cursor: pointer; font: .9rem/1.6 var(--sans); color: var(--series-0); }
pre { overflow-x: auto; font: .8rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  border-left: 3px solid var(--hair); padding: .2rem 0 .2rem 1rem; }
.facts td { white-space: normal; overflow-wrap: anywhere; }
footer { margin-top: 4rem; padding-top: 1rem; border-top: 1px solid var(--hair);
  font: .84rem/1.5 var(--sans); color: var(--muted); }
@media (max-width: 40rem) {
  .hint { display: none !important; } .results tbody th { min-width: 6.5rem; }
  main { padding-top: 1.6rem; } h1 { font-size: 1.8rem; } .lede { font-size: 1.08rem; }
  .key { gap: .9rem 2rem; } .key .large { font-size: 2rem; }
}
@media print {
  :root { color-scheme: light;
    --paper: #fff; --ink: #000; --muted: #444; --hair: #ccc; --series-0: #0067a5;
    --series-1: #c8500a; --series-2: #00785a; --series-3: #a8488b; --series-4: #8f6a00;
    --series-5: #4b5aa8; --alert: #a3210f; }
  body { font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  figure, tr, .stamp, .key { break-inside: avoid; } h2, h3 { break-after: avoid; }
  summary { display: none; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  .scroll, pre { overflow: visible; white-space: pre-wrap; }
}
""".strip()
)
