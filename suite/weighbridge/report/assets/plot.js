// The trade-off: one dot a case, the Pareto front, the limits, the baselines.
const MOST_TETHERS = 60, MOST_NAMES = 40;

function drawPlot(host, rows, axes, select) {
  const { x, y, area } = axes;
  const points = rows.map((row) => ({ row, at: [x.of(row), y.of(row), area ? area.of(row) : 0] }))
    .filter(({ at }) => isNumber(at[0]) && isNumber(at[1]));
  host.replaceChildren();
  if (!points.length) {
    host.append(h('p', { class: 'empty' }, 'None of the cases shown has both quantities.'));
    return { points };
  }
  const width = Math.max(300, host.clientWidth), height = Math.round(Math.min(440, Math.max(280, width * 0.42)));
  const bounds = { x: bound(points, x), y: bound(points, y) };
  const baselines = distinct(points.map(({ row }) => [x.baseline(row), y.baseline(row)])
    .filter(([a, b]) => isNumber(a) && isNumber(b)));
  const reach = (axis, index) => points.map(({ at }) => at[index])
    .concat(bounds[axis].reach.map(({ value }) => value), baselines.map((one) => one[index]));
  const box = { left: 0, right: width - 16, top: 18, bottom: height - 44 };
  const py = scaleFor(reach('y', 1), box.bottom, box.top);
  box.left = 14 + Math.max(34, ...py.ticks().map((tick) => wide(show(tick, y.unit, 4))));
  const px = scaleFor(reach('x', 0), box.left, box.right);

  const svg = s('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'group', tabindex: 0,
    'aria-label': `${title(y.name)} against ${title(x.name)}, ${points.length} cases; arrow keys move, Enter opens` });
  svg.append(...frame(px, py, box, x, y), ...bounds.x.lines.map((line) => limitLine(line, px(line.value), box, true, x)),
    ...bounds.y.lines.map((line) => limitLine(line, py(line.value), box, false, y)));
  for (const [a, b] of baselines.slice(0, 200)) {
    svg.append(s('path', { class: 'baseline', d: `M${px(a)} ${py(b) - 5}l5 5l-5 5l-5-5z` },
      s('title', {}, `baseline: ${show(a, x.unit)}, ${show(b, y.unit)}`)));
  }
  const radius = radiusFor(points, area, width);
  const front = axes.front ? paretoOf(points, axes) : { members: new Set(), beaten: new Set(), staircase: [] };
  svg.append(s('path', { class: 'front', d: staircase(front.staircase.map((index) => points[index].at), px, py) }));
  if (points.length <= MOST_TETHERS) svg.append(...tethers(points, bounds, px, py, x, y));
  svg.append(...points.map(({ row, at }, index) => s('circle', { class: `dot s-${row.status}${front.beaten.has(index) ? ' beaten' : ''}`, 'data-index': index,
    cx: px(at[0]), cy: py(at[1]), r: radius(at[2]) })));
  for (const { at } of [...front.members].map((index) => points[index])) {
    svg.append(s('circle', { class: 'ring', cx: px(at[0]), cy: py(at[1]), r: radius(at[2]) + 3 }));
  }
  pointer(svg, points, front, axes, select);
  const labels = new Labels(box);
  points.forEach(({ at }) => labels.avoid(around(px(at[0]), py(at[1]), radius(at[2]) + 3)));
  baselines.slice(0, 200).forEach(([a, b]) => labels.avoid(around(px(a), py(b), 6)));
  bounds.x.lines.forEach(({ value }) => labels.cross({ left: px(value) - 1, right: px(value) + 1, top: box.top, bottom: box.bottom }));
  bounds.y.lines.forEach(({ value }) => labels.cross({ left: box.left, right: box.right, top: py(value) - 1, bottom: py(value) + 1 }));
  svg.append(...[...bounds.x.lines.map((line) => nameLimit(labels, line, px(line.value), box, true, x)),
    ...bounds.y.lines.map((line) => nameLimit(labels, line, py(line.value), box, false, y)),
    ...nameDots(labels, front, points, px, py, radius)].filter(Boolean));
  keys(svg, points, px, py, axes, select);
  host.append(svg);
  return { points, front, bounds, baselines };
}

// A title is made when the pointer comes: thousands of them would make the page slow to draw.
function pointer(svg, points, front, axes, select) {
  const at = (event) => (event.target.dataset.index === undefined ? -1 : Number(event.target.dataset.index));
  svg.addEventListener('click', (event) => at(event) >= 0 && select(points[at(event)].row));
  svg.addEventListener('mouseover', (event) => {
    const index = at(event);
    if (index < 0 || event.target.firstChild) return;
    const { row } = points[index], place = front.members.has(index) ? '\non the Pareto front' : front.beaten.has(index) ? '\nbeaten by another' : '';
    event.target.append(s('title', {}, `${row.case}: ${row.status}\n${describe(row, axes)}${place}`));
  });
}

// Where each case has a limit of its own, a thread leads from its dot to the limit.
function tethers(points, bounds, px, py, x, y) {
  return points.flatMap(({ row, at: [a, b] }) => [
    ...(bounds.x.many ? x.limitsIn(row) : []).map(({ value }) => `M${px(a)} ${py(b)}H${px(value)}m0-4v8`),
    ...(bounds.y.many ? y.limitsIn(row) : []).map(({ value }) => `M${px(a)} ${py(b)}V${py(value)}m-4 0h8`),
  ]).map((d) => s('path', { class: 'limit tether', d }));
}

const describe = (row, { x, y, area }) => [x, y, area].filter(Boolean)
  .map((axis) => `${title(axis.name)} ${show(axis.of(row), axis.unit)}`).join('\n');
const distinct = (pairs) => [...new Map(pairs.map((pair) => [pair.join(), pair])).values()];

// A limit that reads the same in every case is a line; more than four different ones are threads, where the cases are few.
function bound(points, axis) {
  const lines = new Map();
  for (const { row } of points) for (const limit of axis.limitsIn(row)) lines.set(limitText(limit, axis), limit);
  const many = lines.size > 4;
  return { lines: many ? [] : [...lines.values()], many, reach: points.length > MOST_TETHERS && many ? [] : [...lines.values()] };
}

function frame(px, py, box, x, y) {
  const marks = [], ticks = px.ticks(), widest = Math.max(0, ...ticks.map((tick) => wide(show(tick, x.unit, 4))));
  const skip = Math.max(1, Math.ceil(ticks.length * (widest + 14) / (box.right - box.left)));
  ticks.forEach((tick, index) => {
    const text = show(tick, x.unit, 4), half = wide(text) / 2, inside = px(tick) - half >= box.left - 30 && px(tick) + half <= box.right + 14;
    marks.push(s('line', { class: 'grid', x1: px(tick), x2: px(tick), y1: box.top, y2: box.bottom }),
      index % skip === 0 && inside && s('text', { x: px(tick), y: box.bottom + 17, 'text-anchor': 'middle' }, text));
  });
  py.ticks().forEach((tick) => marks.push(
    s('line', { class: 'grid', x1: box.left, x2: box.right, y1: py(tick), y2: py(tick) }),
    s('text', { x: box.left - 7, y: py(tick) + 4, 'text-anchor': 'end' }, show(tick, y.unit, 4))));
  return [...marks.filter(Boolean),
    s('path', { class: 'axis', fill: 'none', d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }),
    s('text', { class: 'strong', x: box.right, y: box.bottom + 36, 'text-anchor': 'end' },
      x.higher ? `${title(x.name)} → better` : `better ← ${title(x.name)}`),
    s('text', { class: 'strong', x: box.left + 6, y: box.top - 5 }, `${title(y.name)} ${y.higher ? '↑' : '↓'} better`)];
}

const limitText = ({ side, value, from }, axis) => `${title(from)}: ${showBound({ side, value }, axis.unit)}`;

const limitLine = (line, at, box, upright, axis) => s('line', { class: 'limit',
  ...(upright ? { x1: at, x2: at, y1: box.top, y2: box.bottom } : { x1: box.left, x2: box.right, y1: at, y2: at }) },
s('title', {}, limitText(line, axis)));

// Beside its line, where no other word is: along it, on either side.
function nameLimit(labels, line, at, box, upright, axis) {
  const text = limitText(line, axis), places = [];
  for (let step = 0; step < 12; step++) {
    if (upright) places.push([at + 5, box.top + 12 + step * LINE], [at - 5, box.top + 12 + step * LINE, true]);
    else for (const y of [at - 5, at + 14]) places.push([box.right - 4 - step * 60, y, true]);
  }
  return labels.put(text, places, 'limit-text halo');
}

function radiusFor(points, area, width) {
  const values = points.map(({ at }) => at[2]).filter((value) => isNumber(value) && value > 0);
  const base = (points.length > 400 ? 3 : points.length > 60 ? 4.5 : 6) * (width < 500 ? 0.6 : 1);
  if (!area || !values.length) return () => base;
  const most = Math.max(...values);
  return (value) => (isNumber(value) && value > 0 ? Math.max(2.5, 2.4 * base * Math.sqrt(value / most)) : 2.5);
}

// The front is of what passed: a case that failed is no choice.
function paretoOf(points, { x, y, area }) {
  const able = points.map((_, index) => index).filter((index) => points[index].row.status === 'pass'
    && (!area || isNumber(points[index].at[2])));
  const axes = area ? [x, y, area] : [x, y];
  const front = (among, count) => paretoFront(among.map((index) => points[index].at.slice(0, count)),
    axes.slice(0, count).map((axis) => axis.higher)).map((index) => among[index]);
  const members = new Set(front(able, axes.length));
  return { members, beaten: new Set(able.filter((index) => !members.has(index))), staircase: front(able, 2) };
}

function staircase(front, px, py) {
  const sorted = [...front].sort((a, b) => a[0] - b[0]);
  return sorted.map((at, index) => (index ? `H${px(at[0])}V${py(at[1])}` : `M${px(at[0])} ${py(at[1])}`)).join('');
}

// Names beside the dots of the front, of what failed, then of others, as many as have room.
function nameDots(labels, front, points, px, py, radius) {
  const need = (index) => (front.members.has(index) ? 0 : ['fail', 'error', 'inconclusive'].includes(points[index].row.status) ? 1 : 2);
  const order = points.map((_, index) => index).sort((a, b) => need(a) - need(b)).slice(0, MOST_NAMES);
  return order.map((index) => {
    const { row, at } = points[index], text = String(row.name || row.case), most = labels.box.right < 500 ? 15 : 28;
    const short = text.length > most ? `${text.slice(0, most / 2 - 1)}…${text.slice(-most / 2)}` : text;
    const x = px(at[0]), y = py(at[1]), gap = radius(at[2]) + 6, half = wide(short) / 2;
    // Beside the dot, then above and below, then farther away.
    const places = [0, LINE, -LINE].flatMap((up) => [[x + gap, y + 4 - up], [x - gap, y + 4 - up, true]]);
    return labels.put(short, [...places.slice(0, 2), [x - half, y - gap], [x - half, y + gap + 10], ...places.slice(2)], 'halo');
  });
}

function keys(svg, points, px, py, axes, select) {
  const order = [...points].sort((a, b) => a.at[0] - b.at[0]);
  const mark = s('circle', { class: 'current', r: 10, visibility: 'hidden' });
  const words = s('text', { class: 'strong halo', 'aria-live': 'polite', visibility: 'hidden' });
  svg.append(mark, words);
  let current = -1;
  svg.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (event.key === 'Enter' && current >= 0) select(order[current].row);
    if (!step) return;
    event.preventDefault();
    current = (current + step + order.length) % order.length;
    const { row, at } = order[current];
    for (const [name, value] of Object.entries({ cx: px(at[0]), cy: py(at[1]), visibility: 'visible' })) mark.setAttribute(name, value);
    const late = px(at[0]) > svg.clientWidth / 2;
    for (const [name, value] of Object.entries({ x: px(at[0]) + (late ? -14 : 14), y: py(at[1]) - 12,
      'text-anchor': late ? 'end' : 'start', visibility: 'visible' })) words.setAttribute(name, value);
    words.textContent = `${row.case} (${row.status}): ${describe(row, axes).replaceAll('\n', ', ')}`;
  });
}
