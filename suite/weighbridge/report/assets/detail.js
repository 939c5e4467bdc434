// Everything about one case, made when its row is opened.
const LAYERS_AT_FIRST = 12;

function detail(row) {
  const message = row.message && h('section', { class: 'wide' },
    h('p', { class: `message s-${row.status}` }, h('span', {}, [row.stage ? `${row.stage}: ` : '', row.message])));
  const panel = h('div', { class: 'panel' }, message, verdictSection(row), sinceSection(row), errorSection(row), stepSection(row), noteSection(row),
    flipSections(row), speedSections(row), layerSections(row),
    row.left_out && h('p', { class: 'note wide' }, 'Layers and samples of this case are left out, so that a report of so many opens; a run of this case alone has them.'));
  panel.childNodes.forEach((section) => REACHED.observe(section));
  return panel;
}

// What is wider than its place scrolls, and the keyboard must get there too.
const REACHED = new ResizeObserver((entries) => entries.forEach(({ target }) => {
  if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
  else target.removeAttribute('tabindex');
}));

// Never rounded up to certainty.
const sureness = (sure) => `${Math.min(99.9, 100 * sure).toFixed(1)}\u00a0%`;

function verdictSection(row) {
  if (!row.verdicts?.length) return null;
  const line = (verdict) => [h('tr', {}, h('td', {}, statusMark(certainty(verdict))), h('td', {}, title(verdict.threshold)),
    h('td', { class: 'num' }, show(verdict.measured, verdict.unit), verdict.interval
      && h('small', {}, span(verdict.interval, verdict.unit)
        + (isNumber(verdict.confidence) ? ` at ${plain(100 * verdict.confidence)} %` : ''))),
    h('td', { class: 'num' }, showLimit(verdict.limit, verdict.unit), isNumber(verdict.sure) && verdict.sure < 1 && h('small', {}, `sure ${sureness(verdict.sure)}`)),
    h('td', { class: 'roomy' }, verdictBar(verdict))),
  (verdict.message || verdict.advice?.length > 0) && h('tr', {}, h('td', {}), h('td', { colspan: 4 }, verdict.message,
    verdict.advice?.length > 0 && h('ul', { class: 'advice' }, verdict.advice.map((text) => h('li', {}, text)))))];
  return h('section', { class: 'wide' }, h('h3', {}, 'Thresholds'), h('table', {},
    h('thead', {}, h('tr', {}, headCell(''), headCell('threshold'), headCell('measured', 'num'), headCell('limit', 'num'),
      headCell('', 'roomy'))),
    h('tbody', {}, row.verdicts.map(line))));
}

// Every quantity as an earlier run had it, where one was named.
function sinceSection({ against }) {
  if (!against) return null;
  return h('section', {}, h('h3', {}, `Against ${against.title}`), h('table', {},
    h('thead', {}, h('tr', {}, h('th', {}, ''), h('th', { class: 'num' }, 'then'), h('th', { class: 'num' }, 'now'), h('th', {}, ''))),
    h('tbody', {}, against.changes.map((one) => h('tr', {}, h('td', {}, title(one.quantity)), h('td', { class: 'num' }, show(one.before, one.unit)),
      h('td', { class: 'num' }, show(one.now, one.unit)),
      h('td', {}, one.before === one.now ? 'the same' : one.clear ? 'changed' : 'within its uncertainty'))))));
}

// The output error that each layer causes alone, worst first.
function errorSection({ layer_errors: found }) {
  if (!found?.layers.length) return null;
  const all = `all together ${show(found.output_db, 'dB')}`;
  const tried = (what, db) => isNumber(db) && `, ${what} ${show(db, 'dB')}`;
  return h('section', {}, h('h3', {}, 'Output error by layer'), growing(found.layers, (some) => errorTable(some, found.layers)),
    h('p', { class: 'note' }, [found.step || 'the candidate', ` on ${found.samples} ${found.inputs === 'random' ? 'random inputs' : 'test samples'}: ${all}`,
      tried(`with exclude: ${found.exclude.join(', ')}`, found.excluded_db), tried(`behind ${found.before}`, found.before_db),
      !found.complete && '; some layers were not looked at for want of time'].filter(Boolean).join('')));
}

function stepSection(row) {
  if (!row.steps?.length) return null;
  const change = (step, key, unit) => h('td', { class: 'num' }, show(step.after?.[key], unit),
    step.before?.[key] !== step.after?.[key] && h('small', {}, `was ${show(step.before?.[key], unit)}`));
  return h('section', {}, h('h3', {}, 'Steps'), h('table', {},
    h('thead', {}, h('tr', {}, ['step', 'time', 'nonzero', 'quantized', 'stored']
      .map((text, column) => headCell(text, column === 1 ? 'num roomy' : column && 'num')))),
    h('tbody', {}, row.steps.map((step) => h('tr', {},
      h('td', {}, step.step, step.cached && ' (stored)', step.notes?.map((text) => h('small', {}, text)), coverage(step)), h('td', { class: 'num roomy' }, show(step.seconds, 's')),
      change(step, 'nonzero', 'count'), change(step, 'quantized', 'count'), change(step, 'stored_bytes', 'bytes'))))));
}

// How many layers a step was to convert and did, and why not the others.
function coverage({ coverage: found }) {
  if (!found) return null;
  const more = found.asked - found.converted - found.left.length;
  return [`${found.converted} of ${found.asked} layers converted`, ...found.left, more > 0 && `and ${more} more layers`]
    .filter(Boolean).map((text) => h('small', {}, text));
}

function noteSection(row) {
  const facts = [row.engine && `engine ${row.engine}`, row.format && `format ${row.format}`, row.inputs === 'random' && 'the inputs were random numbers: nothing here speaks of real data', ...(row.notes || [])].filter(Boolean);
  return facts.length > 0 && h('section', {}, h('h3', {}, 'Notes'), h('ul', { class: 'advice' }, facts.map((text) => h('li', {}, text))));
}

function speedSections(row) {
  return Object.entries(row.measurements || {}).filter(([, one]) => samplesOf(one.details).length > 0)
    .map(([name, one]) => {
      const relative = isNumber(one.details.ratio);
      const verdict = row.verdicts?.find(({ threshold }) => threshold === (relative ? 'speedup' : name));
      const times = relative && isNumber(one.details.baseline_ms)
        && `${show(one.details.baseline_ms, 'ms')} before, ${show(one.details.candidate_ms, 'ms')} after`;
      return h('section', {}, h('h3', {}, `${title(name)} samples${relative ? ': baseline over candidate' : ''}`),
        speedSamples(one.details, one.candidate, one.details.interval || verdict?.interval, verdict ? boundsOfOwn(row, verdict) : [], relative ? 'ratio' : one.unit),
        times && h('p', { class: 'note' }, times),
        isNumber(one.details.loads) && h('p', { class: 'note' }, loadsInWords(one.details)));
    });
}

// The interval is over these: how often the model was loaded, and how far that moved it.
function loadsInWords({ loads, processes, spread }) {
  const where = processes > 1 ? ` in ${processes} processes` : '';
  const apart = isNumber(spread) ? `, which differ by ${plain(Number((100 * spread).toPrecision(2)))}\u00a0%` : '';
  return `over ${loads} load${loads === 1 ? '' : 's'}${where}${apart}`;
}

function layerSections(row) {
  const layers = Object.values(row.measurements || {}).map((one) => one.details?.layers).find(Array.isArray);
  if (!layers?.length) return null;
  const compared = layers.some((one) => isNumber(one.nonzero?.baseline));
  const key = compared && beforeAfter();
  const drawn = layers.filter((one) => one.histogram?.edges?.length > 1);
  return [
    h('section', { class: 'wide' }, h('h3', {}, 'Layers'), key && key.cloneNode(true), growing(layers, (some) => layerTable(some, compared))),
    drawn.length > 0 && h('section', { class: 'wide' }, h('h3', {}, compared ? 'Weights before and after' : 'Weights'), key,
      growing(drawn, (some) => h('div', { class: 'smalls' }, some.map(histogram)))),
  ];
}

// The first few, and a button for the rest.
function growing(items, draw) {
  const holder = h('div', {}, draw(items.slice(0, LAYERS_AT_FIRST)));
  if (items.length > LAYERS_AT_FIRST) {
    const button = h('button', { type: 'button', class: 'more', onclick: () => holder.replaceChildren(draw(items)) },
      `Show all ${items.length}`);
    holder.append(button);
  }
  return holder;
}
