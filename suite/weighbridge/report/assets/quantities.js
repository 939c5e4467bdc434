// What a number is: how it is written, and which way is better.
const SCALES = { bytes: [[1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB'], [1, 'B']] };
const FIRST = ['accuracy', 'size', 'speed', 'latency', 'nonzero', 'parameters', 'fidelity', 'peak_memory', 'cold_start'];
const HIGHER = /accuracy|f1|auc|recall|precision|map$|iou|fidelity|sqnr|snr|cosine|agreement|speedup|size_ratio|throughput/;

function plain(value) {
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return value.toLocaleString('en-US');
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

function show(value, unit) {
  if (!isNumber(value)) return '–';
  if (unit === 'B' || unit === 'byte' || unit === 'bytes') {
    const [factor, name] = SCALES.bytes.find(([least]) => Math.abs(value) >= least) || SCALES.bytes[3];
    return `${Number((value / factor).toPrecision(3))}\u00a0${name}`;
  }
  if (unit === 'x' || unit === '×' || unit === 'ratio') return `${plain(value)}×`;
  if (unit === 'fraction') return `${Number((100 * value).toFixed(2))}\u00a0%`;
  if (!unit || unit === 'count') return plain(value);
  return `${plain(value)}\u00a0${unit}`;
}

// The same, short enough for an axis.
function showTick(value, unit) {
  if (unit && unit !== 'count') return show(value, unit);
  const [factor, name] = [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']].find(([least]) => Math.abs(value) >= least) || [1, ''];
  return name ? `${Number((value / (name === 'k' ? 1e3 : factor)).toPrecision(4))}\u00a0${name}` : plain(value);
}

const title = (name) => name.replaceAll('_', ' ');

const LIMIT = /(<=|>=|==)\s*([-+0-9.eE]+)/g;

// A limit as the judge writes it, "<= 0.01" or ">= 1 and <= 3", as [{sign, value}].
function limits(text) {
  return [...String(text).matchAll(LIMIT)]
    .map(([, sign, value]) => ({ sign, value: Number(value) }))
    .filter(({ value }) => isNumber(value));
}

// The limit in the unit of what it bounds; text that is no such limit stays as it is.
function showLimit(text, unit) {
  const signs = { '<=': '≤', '>=': '≥', '==': '=' };
  return String(text).replaceAll(LIMIT, (whole, sign, value) => (
    isNumber(Number(value)) ? `${signs[sign]}\u00a0${show(Number(value), unit)}` : whole));
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
    return (row.verdicts || []).flatMap((verdict) => limits(verdict.limit).map(({ sign, value }) => {
      if (verdict.threshold === this.name) return { sign, value, from: verdict.threshold };
      if (this.kind !== 'measurement' || !isNumber(before)) return null;
      if (verdict.threshold === `${this.name}_drop`) return { sign: '>=', value: before - value, from: verdict.threshold };
      if (verdict.threshold === 'size_ratio' && this.name === 'size' && sign === '>=') {
        return { sign: '<=', value: before / value, from: verdict.threshold };
      }
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
      if (limits(one.limit)[0]?.sign === '>=') {
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
