"""Style and script of the HTML report: constants, so that the page can name their hashes and allow no others."""

STYLE = """
:root { --ink: #1b1f24; --soft: #57606a; --paper: #ffffff; --panel: #f6f8fa; --line: #d0d7de; --mark: #fff3b8;
  --critical: #a40e26; --high: #b3360b; --medium: #7d5200; --low: #0b5c8f; --info: #57606a; --link: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa5b1; --paper: #0d1117; --panel: #161b22; --line: #3a424c; --mark: #4b3f0d;
    --critical: #ff8a93; --high: #ffa176; --medium: #e8bd55; --low: #79c0ff; --info: #9aa5b1; --link: #79c0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
a { color: var(--link); }
h1 { font-size: 1.6rem; margin: 0 0 1rem; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1.05rem; margin: 0 0 .25rem; }
code, pre { font: .875em/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem;
  margin: .5rem 0; overflow-x: auto; overflow-wrap: normal; }
pre mark { background: var(--mark); color: inherit; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top;
  border-bottom: 1px solid var(--line); } td.n, th.n { text-align: right; } td { overflow-wrap: anywhere; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid var(--link); }
.warning { border: 2px solid var(--high); border-radius: 6px; padding: .6rem .9rem; font-weight: 600; }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; align-items: stretch; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .7rem 1rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; }
.soft { color: var(--soft); }
.critical { color: var(--critical); } .high { color: var(--high); }
.medium { color: var(--medium); }
.low { color: var(--low); } .info { color: var(--info); }
.word { font-weight: 700; }
.fill-critical { fill: var(--critical); } .fill-high { fill: var(--high); } .fill-medium { fill: var(--medium); }
.fill-low { fill: var(--low); } .fill-info { fill: var(--info); } svg text { fill: var(--ink); font: 13px system-ui; }
form { display: flex; flex-wrap: wrap; gap: .6rem; align-items: end; margin: .75rem 0; }
form[hidden] { display: none; }
label { display: grid; font-size: .85rem; color: var(--soft); }
input, select { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--line);
  border-radius: 6px; padding: .25rem .5rem; max-width: 18rem; }
article { border: 1px solid var(--line); border-left-width: 6px; border-radius: 6px; padding: .8rem 1rem;
  margin: 1rem 0; }
article.critical, article.high, article.medium, article.low, article.info { color: var(--ink); }
article.critical { border-left-color: var(--critical); } article.high { border-left-color: var(--high); }
article.medium { border-left-color: var(--medium); } article.low { border-left-color: var(--low); }
article:target, article.current { outline: 2px solid var(--link); } pre:target { outline: 2px solid var(--link); }
article p { margin: .35rem 0; } ol { margin: .35rem 0; padding-left: 1.6rem; }
button.copy { font: inherit; font-size: .8rem; }
@media print { form, button.copy { display: none; } article { break-inside: avoid; } body { max-width: none; } }
"""

SCRIPT = """
'use strict';
(function () {
  const data = JSON.parse(document.getElementById('data').textContent);
  const form = document.getElementById('filter');
  const body = document.querySelector('#findings tbody');
  const rows = new Map(Array.from(body.rows, (row) => [row.dataset.id, row]));
  const cards = new Map(Array.from(document.querySelectorAll('article'), (card) => [card.id, card]));
  const shown = document.getElementById('shown');
  const fields = ['severity', 'confidence', 'rule', 'path', 'state'];
  const grades = { severity: data.severities, confidence: data.confidences };
  let sorted = '';
  let current = -1;

  function values(field) {
    const present = new Set(data.findings.map((finding) => finding[field]));
    const known = grades[field] || Array.from(present).sort();
    return known.filter((value) => present.has(value));
  }

  for (const field of fields) {
    const select = form.elements[field];
    for (const value of values(field)) {
      const option = document.createElement('option');
      option.value = value;
      option.textContent = value;
      select.append(option);
    }
  }

  function wanted(finding) {
    const query = form.elements.q.value.trim().toLowerCase();
    return fields.every((field) => !form.elements[field].value || form.elements[field].value === finding[field])
      && query.split(/\\s+/).every((word) => finding.search.includes(word));
  }

  function rank(finding, field) {
    const known = grades[field];
    return known ? known.indexOf(finding[field]) : finding[field];
  }

  function apply() {
    let count = 0;
    const order = data.findings.slice();
    if (sorted) {
      order.sort((a, b) => {
        const x = rank(a, sorted);
        const y = rank(b, sorted);
        return x < y ? -1 : x > y ? 1 : 0;
      });
    }
    for (const finding of order) {
      const visible = wanted(finding);
      rows.get(finding.id).hidden = !visible;
      if (cards.has(finding.id)) cards.get(finding.id).hidden = !visible;
      body.append(rows.get(finding.id));
      count += visible ? 1 : 0;
    }
    shown.textContent = count + ' of ' + data.findings.length + ' shown';
  }

  function save() {
    const state = new URLSearchParams();
    for (const field of [...fields, 'q']) {
      if (form.elements[field].value) state.set(field, form.elements[field].value);
    }
    if (sorted) state.set('sort', sorted);
    const text = state.toString();
    history.replaceState(null, '', text ? '#?' + text : '#');
  }

  function load() {
    if (!location.hash.startsWith('#?')) return;
    const state = new URLSearchParams(location.hash.slice(2));
    for (const field of [...fields, 'q']) form.elements[field].value = state.get(field) || '';
    sorted = state.get('sort') || '';
  }

  function go(step) {
    const visible = Array.from(cards.values()).filter((card) => !card.hidden);
    if (!visible.length) return;
    for (const card of cards.values()) card.classList.remove('current');
    current = Math.min(Math.max(current + step, 0), visible.length - 1);
    visible[current].classList.add('current');
    visible[current].scrollIntoView({ block: 'start' });
  }

  form.addEventListener('input', () => { current = -1; apply(); save(); });
  form.addEventListener('submit', (event) => event.preventDefault());
  for (const head of document.querySelectorAll('#findings th[data-sort]')) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = head.textContent;
    button.addEventListener('click', () => {
      sorted = sorted === head.dataset.sort ? '' : head.dataset.sort;
      apply();
      save();
    });
    head.textContent = '';
    head.append(button);
  }
  for (const card of cards.values()) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'copy';
    button.textContent = 'copy id';
    button.addEventListener('click', () => navigator.clipboard.writeText(card.id));
    card.querySelector('.facts').append(' ', button);
  }
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    if (event.key === 'j') go(1);
    if (event.key === 'k') go(-1);
  });
  window.addEventListener('hashchange', () => { load(); apply(); });
  form.hidden = false;
  load();
  apply();
})();
"""
