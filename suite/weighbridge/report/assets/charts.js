// The small drawings of one case: a verdict, the layers, the histograms, the speed samples.

// The measured number with its interval, and the side of the limit that is allowed.
function verdictBar(verdict) {
  const bars = limits(verdict.limit), low = verdict.interval?.[0], high = verdict.interval?.[1];
  if (!isNumber(verdict.measured) || !bars.length) return null;
  const scale = scaleFor([verdict.measured, ...bars.map(({ value }) => value), low, high].filter(isNumber), 8, 172, false);
  const svg = s('svg', { width: 180, height: 26, viewBox: '0 0 180 26', role: 'img',
    'aria-label': `measured ${show(verdict.measured, verdict.unit)}, limit ${showLimit(verdict.limit, verdict.unit)}` });
  svg.append(s('rect', { class: 'track', x: 0, y: 9, width: 180, height: 8, rx: 4 }));
  let from = 0, to = 180;
  for (const { side, value } of bars) {
    if (side !== 'max') from = Math.max(from, scale(value) - (side === 'equals' ? 2 : 0));
    if (side !== 'min') to = Math.min(to, scale(value) + (side === 'equals' ? 2 : 0));
  }
  svg.append(s('rect', { class: 'band', x: from, y: 9, width: Math.max(0, to - from), height: 8, rx: 4 }));
  for (const { value } of bars) svg.append(s('line', { class: 'limit', x1: scale(value), x2: scale(value), y1: 3, y2: 23 }));
  if (isNumber(low) && isNumber(high)) {
    svg.append(s('path', { class: 'estimate', fill: 'none', d: `M${scale(low)} 9v8m0-4H${scale(high)}m0-4v8` }));
  }
  svg.append(s('circle', { class: 'sample', cx: scale(verdict.measured), cy: 13, r: 4 }));
  return svg;
}

const beforeAfter = () => h('p', { class: 'note' }, h('span', { class: 'key k-before' }, h('b', {}, 'before')), ' ',
  h('span', { class: 'key k-after' }, h('b', {}, 'after')));

// One line a layer: the share of zeros before and after as bars, and what is left of the signal.
const ROOMY = [1, 2, 3];
function layerTable(layers, compared) {
  const share = (one, side) => (one.parameters && isNumber(one.nonzero?.[side]) ? 1 - one.nonzero[side] / one.parameters : null);
  const bar = (one) => s('svg', { width: 120, height: 16, viewBox: '0 0 120 16', role: 'img',
    'aria-label': `zeros ${percent(share(one, 'baseline'))} before, ${percent(share(one, 'candidate'))} after` },
  s('rect', { class: 'track', x: 0, y: 1, width: 120, height: 14, rx: 2 }),
  s('rect', { class: 'before', x: 0, y: 1, width: 120 * (share(one, 'baseline') || 0), height: 6 }),
  s('rect', { class: 'after', x: 0, y: 9, width: 120 * (share(one, 'candidate') || 0), height: 6 }));
  const signal = (one) => (one.exact ? 'exact' : isNumber(one.sqnr_db) ? `${one.sqnr_db.toFixed(1)}\u00a0dB` : '–');
  return h('table', {}, h('thead', {}, h('tr', {}, ['layer', 'dtype', 'numbers', 'bytes', 'zeros', '', ...(compared ? ['fidelity'] : [])]
    .map((text, column) => headCell(text, ROOMY.includes(column) ? 'num roomy' : column > 3 && column !== 5 && 'num')))),
  h('tbody', {}, layers.map((one) => h('tr', {},
    h('td', { title: one.name }, one.name), h('td', { class: 'num roomy' }, one.dtype),
    h('td', { class: 'num roomy' }, show(one.parameters, 'count')), h('td', { class: 'num roomy' }, show(one.bytes?.candidate, 'bytes')),
    h('td', { class: 'num' }, percent(share(one, 'candidate'))), h('td', {}, bar(one)),
    compared && h('td', { class: 'num' }, signal(one))))));
}
const percent = (value) => (isNumber(value) ? `${(100 * value).toFixed(1)}\u00a0%` : '–');

// One line a layer: the signal to noise that it alone leaves of the output, and its share of all layers' noise as a bar.
function errorTable(some, layers) {
  const noise = ({ sqnr_db: db }) => 10 ** (-db / 10);
  const total = layers.reduce((sum, one) => sum + noise(one), 0);
  const bar = (one) => s('svg', { width: 120, height: 10, viewBox: '0 0 120 10', role: 'img',
    'aria-label': `${percent(noise(one) / total)} of the noise` },
  s('rect', { class: 'track', x: 0, y: 1, width: 120, height: 8, rx: 2 }), s('rect', { class: 'after', x: 0, y: 1, width: 120 * noise(one) / total, height: 8 }));
  return h('table', {}, h('thead', {}, h('tr', {}, ['layer', 'type', 'alone leaves', 'share of the noise']
    .map((text, column) => h('th', { class: column === 2 ? 'num' : null }, text)))),
  h('tbody', {}, some.map((one) => h('tr', {}, h('td', { title: one.name }, one.name), h('td', {}, one.kind),
    h('td', { class: 'num' }, `${one.sqnr_db.toFixed(1)}\u00a0dB`), h('td', {}, bar(one))))));
}

// Counts a bin on a square root, so that a spike of zeros does not flatten everything else.
function histogram({ name, histogram: { edges, baseline, candidate } }) {
  const width = 200, height = 70, base = 54;
  const most = Math.max(1, ...baseline || [], ...candidate || []);
  const x = (value) => (value - edges[0]) / (edges.at(-1) - edges[0] || 1) * width;
  const y = (count) => base - Math.sqrt(count / most) * (base - 4);
  const outline = (counts) => `M0 ${base}${counts.map((count, bin) => `L${x(edges[bin])} ${y(count)}H${x(edges[bin + 1])}`).join('')}V${base}`;
  return h('figure', {}, s('svg', { width: '100%', height, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img',
    'aria-label': `weights of ${name}, from ${plain(edges[0])} to ${plain(edges.at(-1))}` },
  candidate && s('path', { class: 'after-area', d: outline(candidate) }),
  baseline && s('path', { class: 'before-line', d: outline(baseline) }),
  s('line', { class: 'axis', x1: 0, x2: width, y1: base, y2: base })),
  h('figcaption', { title: name }, name.length > 22 ? `…${name.slice(-21)}` : name), h('small', { class: 'note' }, `${plain(edges[0])} … ${plain(edges.at(-1))}`));
}

// The numbers that a timed measurement was made of: one a load, in older reports one a pair of blocks or a call.
const samplesOf = (details) => details?.by_load || details?.ratios || details?.blocks || details?.samples || [];

// Every load's ratio (or time) as a dot, the estimate as a line, its interval as a band, the limit dashed.
function speedSamples(details, measured, interval, bars, unit) {
  const blocks = samplesOf(details).filter(isNumber), height = 190;
  // Of the page's own width where that is small, so that words keep their size.
  const width = Math.max(240, Math.min(460, document.documentElement.clientWidth - 64));
  const every = Math.ceil(blocks.length / 1500), dots = blocks.filter((_, index) => index % every === 0);
  const sorted = [...blocks].sort((a, b) => a - b), middle = sorted[Math.floor(sorted.length / 2)];
  const estimate = [details.ratio, measured, middle].find(isNumber);
  // One stalled block must not squeeze all others into a line: the scale ends at the outer half percent.
  const trimmed = sorted.slice(Math.floor(sorted.length * 0.005), Math.ceil(sorted.length * 0.995));
  const shown = [...(trimmed.length ? trimmed : sorted), estimate, ...(interval || [])].filter(isNumber);
  // Nor must a limit that is far away: then it stands at the edge, and says so.
  const low = Math.min(...shown), high = Math.max(...shown), reach = 3 * (high - low);
  const near = bars.filter(({ value }) => value > low - reach && value < high + reach);
  const y = scaleFor([...shown, ...near.map(({ value }) => value)], height - 24, 10, false);
  const x = (index) => 52 + (index + 0.5) / dots.length * (width - 60);
  const svg = s('svg', { width: '100%', height, viewBox: `0 0 ${width} ${height}`, role: 'img',
    'aria-label': `${blocks.length} samples, estimate ${show(estimate, unit)}` });
  for (const tick of y.ticks()) {
    svg.append(s('line', { class: 'grid', x1: 52, x2: width, y1: y(tick), y2: y(tick) }),
      s('text', { x: 46, y: y(tick) + 4, 'text-anchor': 'end' }, plain(tick)));
  }
  if (interval?.every(isNumber)) {
    svg.append(s('rect', { class: 'band', x: 52, width: width - 52, y: y(interval[1]), height: Math.max(1, y(interval[0]) - y(interval[1])) }));
  }
  const edge = (value) => Math.min(height - 20, Math.max(6, y(value)));
  dots.forEach((value, index) => svg.append(s('circle', { class: 'sample', cx: x(index), cy: edge(value), r: 2 })));
  svg.append(s('line', { class: 'estimate', x1: 52, x2: width, y1: y(estimate), y2: y(estimate) }));
  for (const bar of bars) {
    const inside = near.includes(bar), at = inside ? y(bar.value) : bar.value < low ? height - 22 : 14;
    const where = inside ? '' : bar.value < low ? ' (far below)' : ' (far above)';
    svg.append(inside ? s('line', { class: 'limit', x1: 52, x2: width, y1: at, y2: at }) : '',
      s('text', { class: 'limit-text halo', x: width - 4, y: at - 4, 'text-anchor': 'end' }, `limit ${showBound(bar, unit)}${where}`));
  }
  svg.append(s('text', { x: 52, y: height - 6 }, `${blocks.length} ${isNumber(details.loads) ? 'loads' : isNumber(details.ratio) ? 'pairs of blocks' : 'calls'} in the order they ran`));
  return svg;
}
