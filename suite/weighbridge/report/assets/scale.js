// From numbers to pixels: linear, or logarithmic where the values span more than a factor of 30.
function scaleFor(values, from, to, logAllowed = true) {
  let low = Math.min(...values), high = Math.max(...values);
  const log = logAllowed && low > 0 && high / low > 30;
  const into = log ? Math.log10 : (value) => value;
  if (low === high) { const pad = Math.abs(low) * 0.05 || 1; low -= log ? 0 : pad; high += pad; }
  const pad = (into(high) - into(low)) * 0.06;
  const start = into(low) - pad, end = into(high) + pad;
  const place = (value) => from + (into(value) - start) / (end - start) * (to - from);
  return Object.assign(place, { ticks: () => (log ? decades(start, end) : evenly(start, end)) });
}

function evenly(start, end, wanted = 5) {
  const rough = (end - start) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const ticks = [];
  for (let tick = Math.ceil(start / step) * step; tick <= end + step * 1e-9; tick += step) {
    ticks.push(Math.abs(tick) < step * 1e-9 ? 0 : Number(tick.toPrecision(12)));
  }
  return ticks;
}

function decades(start, end) {
  const ticks = [];
  for (let power = Math.floor(start); power <= end; power++) {
    for (const one of end - start > 3 ? [1] : end - start > 1.5 ? [1, 3] : [1, 2, 5]) {
      const log = power + Math.log10(one);
      if (log >= start && log <= end) ticks.push(Number((one * 10 ** power).toPrecision(6)));
    }
  }
  return ticks;
}

// Which of the points no other point beats: at least as good everywhere, better somewhere.
function paretoFront(points, higher) {
  const costs = points.map((point) => point.map((value, axis) => (higher[axis] ? -value : value)));
  const order = costs.map((_, index) => index).sort((a, b) => {
    for (let axis = 0; axis < higher.length; axis++) {
      if (costs[a][axis] !== costs[b][axis]) return costs[a][axis] - costs[b][axis];
    }
    return 0;
  });
  // In this order only an earlier point can beat a later one, so it is enough to look at the front so far.
  const front = [];
  for (const index of order) {
    const beaten = front.some((other) => costs[other].every((cost, axis) => cost <= costs[index][axis])
      && costs[other].some((cost, axis) => cost < costs[index][axis]));
    if (!beaten) front.push(index);
  }
  return front;
}
