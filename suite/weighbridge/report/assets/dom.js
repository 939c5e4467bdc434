// Elements are made here and nowhere else: text goes in as text, never as markup.
const SVG = 'http://www.w3.org/2000/svg';

function make(space, tag, attributes, children) {
  const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : value);
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false || child === '') continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}
const h = (tag, attributes, ...children) => make(null, tag, attributes, children);
const s = (tag, attributes, ...children) => make(SVG, tag, attributes, children);
// A column without a heading has no header cell, which would be read out as an empty one.
const headCell = (text, style) => h(text ? 'th' : 'td', { class: style || null }, text);
const byId = (id) => document.getElementById(id);
const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);

function chooser(label, options, chosen, change) {
  const select = h('select', { onchange: () => change(select.value) },
    options.map(([value, text]) => h('option', { value, selected: value === chosen }, text)));
  return h('label', {}, label, select);
}

const GLYPHS = { pass: '✓', unsure: '!', fail: '✗', inconclusive: '?', error: '✗', unmeasured: '·', skip: '·', xfail: 'x' };
const ORDER = ['error', 'fail', 'inconclusive', 'unmeasured', 'xfail', 'pass', 'skip'];
// Passed, and less than 95 % sure: as in the table of the terminal.
const certainty = (verdict) => (verdict.status === 'pass' && isNumber(verdict.sure) && verdict.sure < 0.95 ? 'unsure' : verdict.status);
const statusMark = (status) => h('span', { class: `status s-${status}` }, `${GLYPHS[status] || '·'} ${status}`);
