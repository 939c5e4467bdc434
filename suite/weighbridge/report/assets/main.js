// The page: reads the data, sets up the charts, the filters and the table.
const COLUMNS_AT_FIRST = 4;
const report = JSON.parse(byId('data').textContent);
// An audit's row is about a file; any other is about a place in a case file.
const placeOf = (row) => (report.options?.audit && row.artifacts?.candidate?.files[0]?.path) || (row.path && `${row.path}${row.line ? `:${row.line}` : ''}`) || '';
const NOUN = report.options?.audit ? 'artifact' : 'case';
const rows = (report.rows || []).map((row, index) => Object.assign(row, { index, place: placeOf(row),
  words: [row.case, row.path, row.status, row.message, row.engine, formatOf(row), ...(row.verdicts || []).map((one) => one.threshold)].join(' ').toLowerCase() }));
const all = quantities(rows);
const measured = all.filter(({ kind }) => kind === 'measurement');
const possible = measured.length ? measured : all;
const chosen = new Set(possible.slice(0, COLUMNS_AT_FIRST));
const table = new Table(byId('cases'), byId('sentinel'), columnsFor([...chosen]));
const filter = { text: '', hidden: new Set() };
const NONE = '';

function apply() {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = rows.filter((row) => !filter.hidden.has(row.status) && words.every((word) => row.words.includes(word)));
  table.fill(shown);
  byId('count').textContent = shown.length === rows.length ? `${rows.length} ${rows.length === 1 ? NOUN : `${NOUN}s`}`
    : `${shown.length} of ${rows.length} ${NOUN}s shown`;
  // The table answers at once; the plot of thousands of dots may follow a frame later.
  requestAnimationFrame(() => plot(shown));
}

function setFilters() {
  if (!rows.length) { byId('cases').replaceChildren(h('p', { class: 'empty' }, 'This report has no rows.')); return; }
  const present = ORDER.filter((status) => rows.some((row) => row.status === status));
  const boxes = present.map((status) => h('label', { class: `s-${status}` }, h('input', { type: 'checkbox', checked: true,
    onchange: (event) => { filter.hidden[event.target.checked ? 'delete' : 'add'](status); apply(); } }),
  `${GLYPHS[status]} ${status}`));
  let waiting = 0;
  const search = h('input', { type: 'search', 'aria-label': `Filter the ${NOUN}s`, placeholder: 'Filter: name, threshold, message ( / )',
    oninput: (event) => { filter.text = event.target.value; clearTimeout(waiting); waiting = setTimeout(apply, 120); } });
  const sorter = chooser('Sort', table.columns.map(({ key, label }) => [key, label]), 'status', (key) => table.sortBy(key, false));
  sorter.classList.add('sorter');
  byId('filters').append(search, present.length > 1 ? h('fieldset', {}, h('legend', {}, 'Status'), boxes) : '', sorter, columnPicker());
  addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.target === search || event.target.tagName === 'SELECT') return;
    event.preventDefault();
    search.focus();
  });
}

function columnPicker() {
  if (possible.length <= COLUMNS_AT_FIRST) return '';
  const boxes = possible.map((quantity) => h('label', {}, h('input', { type: 'checkbox', checked: chosen.has(quantity),
    onchange: (event) => {
      chosen[event.target.checked ? 'add' : 'delete'](quantity);
      table.show(columnsFor(possible.filter((one) => chosen.has(one))));
    } }), title(quantity.name)));
  return h('details', { class: 'picker' }, h('summary', {}, 'Columns'), h('div', {}, boxes));
}

const axes = {};
function setPlot() {
  const many = all.filter((quantity) => rows.filter((row) => isNumber(quantity.of(row))).length > 1);
  if (many.length < 2) return;
  const named = (...names) => names.map((name) => many.find((quantity) => quantity.name === name)).find(Boolean);
  const time = named('speed', 'latency');
  const quality = named('accuracy', 'fidelity') || many.find(({ higher }) => higher) || time || named('parameters');
  axes.x = named('size') || many.find((quantity) => quantity !== quality && quantity !== time) || many[0];
  axes.y = quality && quality !== axes.x ? quality : many.find((quantity) => quantity !== axes.x);
  axes.area = time && time !== axes.x && time !== axes.y ? time : null;
  const options = many.map((quantity) => [quantity.key, title(quantity.name)]);
  const pick = (axis) => (key) => { axes[axis] = many.find((quantity) => quantity.key === key) || null; apply(); };
  byId('axes').append(chooser('Up', options, axes.y.key, pick('y')), chooser('Across', options, axes.x.key, pick('x')),
    chooser('Dot size', [[NONE, 'all equal'], ...options], axes.area?.key || NONE, pick('area')));
  byId('tradeoff').hidden = false;
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) < 2) return;
    width = entry.contentRect.width;
    apply();
  }).observe(byId('plot'));
}

function plot(shown) {
  if (!axes.x) return;
  const { points, front, bounds, baselines } = drawPlot(byId('plot'), shown, axes, (row) => table.reveal(row));
  const many = bounds && (bounds.x.many || bounds.y.many) && (points.length > MOST_TETHERS
    ? 'The cases have different limits here: open one to see its own.' : 'A dotted thread leads to a case\'s own limit.');
  byId('plot-legend').textContent = !front ? '' : [
    `${points.length} ${points.length === 1 ? `${NOUN} has` : `${NOUN}s have`} both quantities.`,
    `Ringed: on the Pareto front of ${[axes.y, axes.x, axes.area].filter(Boolean).map((axis) => title(axis.name)).join(', ')}.`,
    'Line: the front of the two axes.',
    bounds.x.lines.length + bounds.y.lines.length > 0 && 'Dashed: limits.',
    many,
    baselines.length > 0 && 'Diamonds: baselines.'].filter(Boolean).join(' ');
}

setPlot();
setFilters();
if (rows.length) apply();
if (rows.length === 1) table.toggle(rows[0], true);
document.body.dataset.ready = rows.length;
