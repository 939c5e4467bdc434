// What a number is: how it is written, and which way is better.
const SUFFIXES = {
  bytes: [[1e12, '\u00a0TB'], [1e9, '\u00a0GB'], [1e6, '\u00a0MB'], [1e3, '\u00a0kB'], [1, '\u00a0B']],
  ms: [[1e3, '\u00a0s'], [1, '\u00a0ms'], [1e-3, '\u00a0µs'], [1e-6, '\u00a0ns']],
  count: [[1e9, 'B'], [1e6, 'M'], [1e3, 'k'], [1, '']],
  fraction: [[0.01, '\u00a0%']], points: [[0.01, '\u00a0points']], ratio: [[1, 'x']],
};
const FIRST = ['accuracy', 'size', 'speed', 'latency', 'nonzero', 'parameters', 'fidelity', 'peak_memory', 'cold_start'];
const HIGHER = /accuracy|f1|auc|recall|precision|map$|iou|fidelity|sqnr|snr|cosine|agreement|speedup|size_ratio|throughput/;

// So many significant digits, as people write it; with an exponent only where that is absurd.
function plain(value, digits = 4) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e15)) return String(Number(value.toPrecision(digits)));
  return size >= 10 ** digits ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(digits)));
}

// As `show` of core/units.py writes it: never `1e+3 kB`.
function show(value, unit, digits = 3) {
  if (!isNumber(value)) return '–';
  const scales = SUFFIXES[unit] || [[1, unit ? `\u00a0${unit}` : '']], size = Math.abs(value);
  // A count below ten thousand is read more easily in full.
  const least = ([scale, suffix]) => (suffix === 'k' ? 1e4 : scale * (1 - 0.5 / 10 ** digits));
  const [scale, suffix] = (value === 0 && unit === 'ms' && scales[1]) || scales.find((one) => size >= least(one)) || scales.at(-1);
  const text = plain(value / scale, scale === 1 && (unit === 'count' || unit === 'bytes') ? 15 : digits);
  return text + (suffix === '\u00a0points' && (text === '1' || text === '-1') ? '\u00a0point' : suffix);
}

// An interval in the unit of its larger end.
function span([low, high], unit) {
  if (!isNumber(low) || !isNumber(high)) return `${show(low, unit)} to ${show(high, unit)}`;
  const [left, right] = [show(low, unit), show(high, unit)], [number, suffix] = left.split('\u00a0');
  return `${suffix && right.endsWith(`\u00a0${suffix}`) ? number : left} to ${right}`;
}

const title = (name) => name.replaceAll('_', ' ');

const SIGNS = { min: '≥', max: '≤', equals: '=' };

// The bounds of a limit, as [{side, value}]: some of min, max and equals.
const limits = (limit) => Object.keys(SIGNS).filter((side) => isNumber(limit?.[side])).map((side) => ({ side, value: limit[side] }));
const showBound = ({ side, value }, unit) => `${SIGNS[side]}\u00a0${show(value, unit)}`;

// Those that speak of the numbers of this run: a limit against an earlier one is on another scale. A speedup may be against
// an engine, which is none.
const boundsOfOwn = (row, { threshold, limit }) => (limit?.against && (row.against || threshold !== 'speedup') ? [] : limits(limit));

// A limit in words: its bounds in the unit of what they bound, then the threshold's options.
function showLimit(limit, unit) {
  const option = ([key, value]) => (key in SIGNS || value === null || value === false || value === undefined ? ''
    : key === 'stated' ? String(value) : `${key} ${Array.isArray(value) ? value.join(', ') || 'nothing' : value}`);
  return [limits(limit).map((bound) => showBound(bound, unit)).join(' and '), ...Object.entries(limit || {}).map(option)].filter(Boolean).join(', ');
}

// A quantity that can be an axis or a column: a measurement's candidate, or what a threshold compared.
class Quantity {
  constructor(kind, name, unit) {
    Object.assign(this, { kind, name, unit: unit || '', key: `${kind}:${name}` });
    this.higher = HIGHER.test(name) && !/drop|loss|error/.test(name);
  }
  of(row) {
    if (this.kind === 'measurement') return row.measurements?.[this.name]?.candidate;
    return row.verdicts?.find((verdict) => verdict.threshold === this.name)?.measured;
  }
  baseline(row) {
    return this.kind === 'measurement' ? row.measurements?.[this.name]?.baseline : undefined;
  }
  // The limits that bound this quantity in a row: its own, and those a relative threshold implies.
  limitsIn(row) {
    const before = this.baseline(row);
    return (row.verdicts || []).flatMap((verdict) => boundsOfOwn(row, verdict).map(({ side, value }) => {
      const from = verdict.threshold;
      if (from === this.name) return { side, value, from };
      if (this.kind !== 'measurement' || !isNumber(before)) return null;
      if (from === `${this.name}_drop`) return { side: 'min', value: before - value, from };
      if (from === 'size_ratio' && this.name === 'size' && side === 'min') return { side: 'max', value: before / value, from };
      return null;
    })).filter(Boolean);
  }
}

function quantities(rows) {
  const found = new Map();
  const add = (kind, name, unit, value) => {
    const quantity = new Quantity(kind, name, unit);
    if (isNumber(value) && !found.has(quantity.key)) found.set(quantity.key, quantity);
  };
  for (const row of rows) {
    for (const [name, one] of Object.entries(row.measurements || {})) {
      if (!Array.isArray(one.details?.layers)) add('measurement', name, one.unit, one.candidate);
    }
  }
  for (const row of rows) {
    for (const one of row.verdicts || []) {
      if (!found.has(`measurement:${one.threshold}`)) add('verdict', one.threshold, one.unit, one.measured);
      if (isNumber(one.limit?.min)) {
        for (const kind of ['measurement', 'verdict']) {
          const quantity = found.get(`${kind}:${one.threshold}`);
          if (quantity) quantity.higher = true;
        }
      }
    }
  }
  const rank = (quantity) => (FIRST.indexOf(quantity.name) + FIRST.length + 1) % (FIRST.length + 1);
  return [...found.values()].sort((a, b) => (a.kind === b.kind ? rank(a) - rank(b) : a.kind === 'measurement' ? -1 : 1));
}
