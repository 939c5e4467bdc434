// Words in a picture that never lie on each other.
const LINE = 15;
const pen = document.createElement('canvas').getContext('2d');
pen.font = '12px system-ui, "Noto Sans", sans-serif';
const wide = (text) => Math.ceil(pen.measureText(text).width) + 2;

// The box of a text whose baseline starts, or with `end` ends, at x, y.
const boxOf = (text, x, y, end) => ({ left: end ? x - wide(text) : x, right: end ? x : x + wide(text), top: y - 12, bottom: y + 3 });
const around = (x, y, radius) => ({ left: x - radius, right: x + radius, top: y - radius, bottom: y + radius });
const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const within = (a, box) => a.left >= box.left && a.right <= box.right && a.top >= box.top && a.bottom <= box.bottom;

// Takes the first of several places that is free, off the lines too if that can be; a text without one is left out.
class Labels {
  constructor(box) { Object.assign(this, { box, taken: [], lines: [] }); }

  avoid(one) { this.taken.push(one); }

  cross(line) { this.lines.push(line); }

  // `places` are [x, y, end].
  put(text, places, style) {
    const free = (among) => places.find(([x, y, end]) => {
      const one = boxOf(text, x, y, end);
      return within(one, this.box) && !among.some((other) => meet(one, other));
    });
    const place = free([...this.taken, ...this.lines]) || free(this.taken);
    if (!place) return null;
    const [x, y, end] = place;
    this.taken.push(boxOf(text, x, y, end));
    return s('text', { class: style, x, y, 'text-anchor': end ? 'end' : 'start' }, text);
  }
}
