// The table: sorted and filtered as data, drawn in chunks as the reader scrolls.
const CHUNK = 100;

class Table {
  constructor(host, sentinel, columns) {
    Object.assign(this, { host, rows: [], drawn: 0, sort: { key: 'status', down: false }, opened: new Set() });
    this.body = h('tbody');
    this.head = h('tr');
    this.show(columns);
    host.replaceChildren(h('table', { class: 'cases' }, h('thead', {}, this.head), this.body));
    new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.draw(CHUNK),
      { rootMargin: '600px' }).observe(sentinel);
    addEventListener('beforeprint', () => this.draw(Infinity));
  }

  show(columns) {
    this.columns = columns;
    this.heads = columns.map((column) => h('th', { scope: 'col', class: column.number ? 'num' : null },
      h('button', { type: 'button', onclick: () => this.sortBy(column.key) }, column.label)));
    this.head.replaceChildren(...this.heads);
    this.arrange();
  }

  fill(rows) { this.rows = rows; this.arrange(); }

  sortBy(key, down) {
    const again = this.sort.key === key;
    const column = this.columns.find((one) => one.key === key);
    this.sort = { key, down: down ?? (again ? !this.sort.down : Boolean(column.downFirst)) };
    this.arrange();
  }

  arrange() {
    const column = this.columns.find((one) => one.key === this.sort.key) || this.columns[0];
    const sign = this.sort.down ? -1 : 1;
    const missing = (value) => value === undefined || value === null || Number.isNaN(value);
    // A row without the quantity comes last in both directions.
    this.rows = this.rows.map((row) => [column.value(row), row]).sort(([a], [b]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return sign * (typeof a === 'string' ? COLLATOR.compare(a, b) : a - b);
    }).map(([, row]) => row);
    this.heads.forEach((head, index) => {
      const on = this.columns[index].key === column.key;
      if (on) head.setAttribute('aria-sort', this.sort.down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
    this.body.replaceChildren();
    this.drawn = 0;
    this.draw(CHUNK);
  }

  draw(count) {
    const next = this.rows.slice(this.drawn, this.drawn + count);
    this.drawn += next.length;
    this.body.append(...next.flatMap((row) => this.line(row)));
  }

  line(row) {
    const open = this.opened.has(row);
    const cells = this.columns.map((column) => {
      const content = column.cell(row, this);
      return h('td', { class: `${column.style || ''}${column.number ? ' num' : ''}${content === '–' ? ' absent' : ''}`.trim() || null,
        'data-label': column.label }, h('div', {}, content));
    });
    return [h('tr', { class: 'row', id: `row-${row.index}` }, cells), ...(open ? [this.panel(row)] : [])];
  }

  panel(row) {
    return h('tr', { class: 'opened', id: `detail-${row.index}` }, h('td', { colspan: this.columns.length }, detail(row)));
  }

  toggle(row, open = !this.opened.has(row)) {
    const line = byId(`row-${row.index}`);
    line.querySelector('.name').setAttribute('aria-expanded', open);
    byId(`detail-${row.index}`)?.remove();
    if (open) { this.opened.add(row); line.after(this.panel(row)); } else this.opened.delete(row);
  }

  reveal(row) {
    const at = this.rows.indexOf(row);
    if (at < 0) return false;
    if (at >= this.drawn) this.draw(at - this.drawn + CHUNK);
    this.toggle(row, true);
    const button = byId(`row-${row.index}`).querySelector('.name');
    button.focus({ preventScroll: true });
    button.scrollIntoView({ block: 'start' });
    return true;
  }
}
const COLLATOR = new Intl.Collator('en', { numeric: true });

function columnsFor(shown) {
  const chip = (verdict) => h('span', { class: `s-${verdict.status}`, title: [showLimit(verdict.limit, verdict.unit), isNumber(verdict.measured) && `measured ${show(verdict.measured, verdict.unit)}`].filter(Boolean).join(', ') },
    `${GLYPHS[verdict.status] || '·'} ${title(verdict.threshold)}`);
  // What was missed is named; what was kept is counted.
  const chips = (row) => {
    const kept = row.verdicts.filter(({ status }) => status === 'pass'), missed = row.verdicts.filter(({ status }) => status !== 'pass');
    const worst = kept.some((verdict) => certainty(verdict) === 'unsure') ? 'unsure' : 'pass';
    const count = missed.length ? `${kept.length} kept` : `all ${kept.length} kept`;
    return [...missed.sort((a, b) => ORDER.indexOf(a.status) - ORDER.indexOf(b.status)).map(chip),
      kept.length > 0 && h('span', { class: `s-${worst}` }, `${GLYPHS[worst]} ${kept.length === 1 && !missed.length ? title(kept[0].threshold) : count}`)];
  };
  return [
    { key: 'status', label: 'Status', value: (row) => ORDER.indexOf(row.status), cell: (row) => statusMark(row.status) },
    { key: 'case', label: NOUN[0].toUpperCase() + NOUN.slice(1), style: 'case', value: (row) => row.case, cell: (row, table) => [
      h('button', { type: 'button', class: 'name', 'aria-expanded': String(table.opened.has(row)), onclick: () => table.toggle(row) }, row.name || row.case),
      h('small', {}, row.place, row.inputs === 'random' && h('b', { class: 'invented' }, 'random inputs'))] },
    { key: 'verdicts', label: 'Thresholds', value: (row) => (row.verdicts || []).filter(({ status }) => status !== 'pass').length,
      downFirst: true, cell: (row) => (row.verdicts?.length ? h('div', { class: 'chips' }, chips(row)) : '–') },
    ...shown.map((quantity) => ({ key: quantity.key, label: title(quantity.name), number: true, downFirst: quantity.higher,
      value: (row) => quantity.of(row), cell: (row) => quantityCell(row, quantity) })),
    { key: 'seconds', label: 'Time', number: true, downFirst: true, value: (row) => row.seconds,
      cell: (row) => (isNumber(row.seconds) ? `${Number(row.seconds.toPrecision(3))}\u00a0s` : '–') },
  ];
}

function quantityCell(row, quantity) {
  const now = quantity.of(row), before = quantity.baseline(row);
  if (!isNumber(now)) return '–';
  if (!isNumber(before)) return show(now, quantity.unit);
  const text = now === before ? 'as before' : `was ${show(before, quantity.unit)}`;
  return [h('span', {}, show(now, quantity.unit)), h('small', {}, h('span', { class: 'change' }, text), ' ', changeOf(now, before, quantity.unit))];
}

// A change of a share is in points, any other in percent.
function changeOf(now, before, unit) {
  const change = unit === 'fraction' ? now - before : before ? (now - before) / Math.abs(before) : 0;
  if (Math.abs(change) < 0.0005) return '';
  const sign = change > 0 ? '+' : '−';
  return h('span', { class: 'change' }, unit === 'fraction' ? `${sign}${show(Math.abs(change), 'points', 2)}`
    : Math.abs(change) >= 0.005 && `${sign}${(100 * Math.abs(change)).toFixed(0)}\u00a0%`);
}
