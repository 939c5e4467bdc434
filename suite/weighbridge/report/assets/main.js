// The page: reads the data, sets up the charts, the filters and the table.
const COLUMNS_AT_FIRST = 4;
const report = JSON.parse(byId('data').textContent);
const AUDIT = report.options.audit;
// An audit's row is about a file; any other is about a place in a case file.
const placeOf = (row) => (AUDIT && row.file) || (row.path && `${row.path}${row.line ? `:${row.line}` : ''}`) || '';
const NOUN = AUDIT ? 'artifact' : 'case';
const rows = (report.rows || []).map((row, index) => Object.assign(row, { index, place: placeOf(row),
  case: row.case || `${row.path}::${row.name}`, words: [row.name, row.path, row.status, row.message, row.engine, row.format, row.inputs === 'random' && 'random inputs', ...(row.verdicts || []).map((one) => one.threshold)].join(' ').toLowerCase() }));
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

// One model a chart: the cases of one file have one model, and some files have the same. An audit's artifacts are compared as they are.
const axes = { front: !AUDIT };
let model = NONE;
const modelOf = (row) => (AUDIT ? NONE : row.model || row.path);

function setPlot() {
  const many = all.filter((quantity) => rows.filter((row) => isNumber(quantity.of(row))).length > 1);
  if (many.length < 2) return;
  const named = (...names) => names.map((name) => many.find((quantity) => quantity.name === name)).find(Boolean);
  const time = named('speed', 'latency');
  const quality = named('accuracy', 'fidelity') || many.find(({ higher, name }) => higher && !name.startsWith('size')) || time || named('parameters');
  axes.x = named('size') || many.find((quantity) => quantity !== quality && quantity !== time) || many[0];
  axes.y = quality && quality !== axes.x ? quality : many.find((quantity) => quantity !== axes.x);
  axes.area = time && time !== axes.x && time !== axes.y ? time : null;
  const options = many.map((quantity) => [quantity.key, title(quantity.name)]);
  const pick = (axis) => (key) => { axes[axis] = many.find((quantity) => quantity.key === key) || null; apply(); };
  byId('axes').append(setModels(), chooser('Up', options, axes.y.key, pick('y')), chooser('Across', options, axes.x.key, pick('x')),
    chooser('Dot size', [[NONE, 'all equal'], ...options], axes.area?.key || NONE, pick('area')));
  byId('tradeoff').hidden = false;
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.abs(entry.contentRect.width - width) < 2) return;
    width = entry.contentRect.width;
    apply();
  }).observe(byId('plot'));
}

// The models with something to draw; at first the one that has the most of it.
function setModels() {
  const count = new Map();
  for (const row of rows) {
    if (isNumber(axes.x.of(row)) && isNumber(axes.y.of(row))) count.set(modelOf(row), (count.get(modelOf(row)) || 0) + 1);
  }
  model = [...count].sort((a, b) => b[1] - a[1])[0]?.[0] ?? NONE;
  if (count.size < 2) return '';
  const shared = [...count.keys()].every((path, _, [first]) => path.split('/')[0] === first.split('/')[0] && path.includes('/'));
  const options = [...count].map(([path, n]) => [path, `${(shared ? path.slice(path.indexOf('/') + 1) : path).replace(/\.ya?ml$/, '')} (${n})`]);
  return chooser('Model', options, model, (path) => { model = path; apply(); });
}

function plot(shown) {
  if (!axes.x) return;
  const { points, front, bounds, baselines } = drawPlot(byId('plot'), shown.filter((row) => modelOf(row) === model), axes, (row) => table.reveal(row));
  const many = bounds && (bounds.x.many || bounds.y.many) && (points.length > MOST_TETHERS
    ? 'The cases have different limits here: open one to see its own.' : 'A dotted thread leads to a case\'s own limit.');
  byId('plot-legend').textContent = !front ? '' : [
    `${points.length} ${points.length === 1 ? `${NOUN} has` : `${NOUN}s have`} both quantities.`,
    front.members.size > 0 && `Ringed: of what passed, the Pareto front of ${[axes.y, axes.x, axes.area].filter(Boolean).map((axis) => title(axis.name)).join(', ')}.`,
    front.beaten.size > 0 && 'Faint: passed, and beaten by another in all of them.',
    front.staircase.length > 1 && 'Line: the front of the two axes.',
    bounds.x.lines.length + bounds.y.lines.length > 0 && 'Dashed: limits.',
    many,
    baselines.length > 0 && 'Diamonds: baselines.'].filter(Boolean).join(' ');
}

function setReasons() {
  for (const link of document.querySelectorAll('a[data-row]')) {
    link.addEventListener('click', (event) => {
      event.preventDefault();
      if (!table.reveal(rows[link.dataset.row])) { clearFilters(); table.reveal(rows[link.dataset.row]); }
    });
  }
}

function clearFilters() {
  Object.assign(filter, { text: '', hidden: new Set() });
  document.querySelectorAll('#filters input').forEach((one) => { if (one.type === 'search') one.value = ''; else if (!one.closest('.picker')) one.checked = true; });
  apply();
}

setReasons();
setPlot();
setFilters();
if (rows.length) apply();
if (rows.length === 1) table.toggle(rows[0], true);
document.body.dataset.ready = rows.length;
