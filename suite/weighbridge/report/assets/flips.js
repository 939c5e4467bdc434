// The samples that are answered differently, and the classes that lost most.
const MANY_FLIPS = 12;

function flipSections({ flips }) {
  if (!flips) return null;
  const { total, harmful, helpful, listed, worst, classes } = flips;
  const head = (...texts) => h('thead', {}, h('tr', {}, texts.map((text) => headCell(text, text === 'samples' ? 'num roomy' : 'num'))));
  const answer = (value) => (value < 0 ? 'none' : plain(value));
  const sample = ([position, target, before, after, worse]) => h('tr', {},
    [position, target].map((value) => h('td', { class: 'num' }, plain(value))),
    [before, after].map((value) => h('td', { class: 'num' }, answer(value))),
    h('td', {}, worse ? 'right to wrong' : after === target ? 'wrong to right' : 'another answer'));
  const lost = (one) => h('tr', {}, [[plain(one.class)], [plain(one.n), 'roomy'], [show(one.baseline, 'fraction')], [show(one.candidate, 'fraction')],
    [[show(one.drop, 'points'), h('small', {}, span(one.interval, 'points'))]]].map(([value, style = '']) => h('td', { class: `num ${style}` }, value)));
  const less = worst.filter(({ drop }) => drop > 0);
  const words = `${total} ${total === 1 ? 'sample is' : 'samples are'} answered differently: ${harmful} right to wrong, ${helpful} wrong to right`;
  return [
    h('section', {}, h('h3', {}, 'Flipped samples'), h('details', { open: listed.length <= MANY_FLIPS }, h('summary', {}, words),
      h('table', {}, head('position', 'class', 'before', 'after', ''), h('tbody', {}, listed.map(sample))),
      h('p', { class: 'note' }, `Positions in the test split, counted from 0. ${total > listed.length ? `${total - listed.length} more are not listed.` : ''}`))),
    less.length > 0 && h('section', {}, h('h3', {}, `Classes that lost most, of ${classes}`), h('table', {}, head('class', 'samples', 'before', 'after', 'drop'),
      h('tbody', {}, less.map(lost)))),
  ];
}
