// Scales of intensities: logarithmic, root, linear. Values are moved to the scale, and ticks say what they are.

const SCALES = {
  log: { to: (v) => (v > 0 ? Math.log10(v) : NaN), from: (s) => 10 ** s },
  sqrt: { to: (v) => Math.sign(v) * Math.sqrt(Math.abs(v)), from: (s) => s * Math.abs(s) },
  linear: { to: (v) => v, from: (s) => s },
};

function moved(values, how) {
  const to = SCALES[how].to;
  return Float32Array.from(values, to);
}

// A number in few characters.
function short(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(size >= 1000 ? 4 : 3)));
}

// An angle or another number that is not to be shortened, without digits that mean nothing.
function plain(value) {
  return Number.isFinite(value) ? String(Number(value.toFixed(4))) : "–";
}

// Round values that lie well apart on a scale from low to high.
function ticksOf(how, low, high) {
  const { to, from } = SCALES[how], begin = from(low), end = from(high), round = new Set();
  if (how === "log") {
    const subs = high - low > 3 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
    for (let k = Math.floor(low); k <= Math.ceil(high); k++) for (const m of subs) round.add(Number(`${m}e${k}`));
  } else {
    const near = how === "sqrt" ? 7 : 5;
    for (let i = 0; i <= near; i++) {
      const value = from(low + ((high - low) * i) / near), step = Math.max(Math.abs(value), (end - begin) / 50);
      const unit = how === "linear" ? niceStep((end - begin) / 5) : 10 ** Math.floor(Math.log10(step));
      round.add(Number((Math.round(value / unit) * unit).toPrecision(6)));
    }
  }
  const kept = [];
  for (const value of [...round].sort((a, b) => a - b)) {
    const place = to(value), before = kept.length ? to(kept[kept.length - 1]) : -Infinity;
    if (place >= low && place <= high && place - before > (high - low) / 14) kept.push(value);
  }
  return { tickmode: "array", tickvals: kept.map(to), ticktext: kept.map(short) };
}

function niceStep(step) {
  const unit = 10 ** Math.floor(Math.log10(step || 1));
  return unit * (step / unit < 1.5 ? 1 : step / unit < 3.5 ? 2 : step / unit < 7.5 ? 5 : 10);
}

// A value with its standard uncertainty in units of the last digit, as crystallographers write it.
function withEsd(value, esd) {
  if (!Number.isFinite(value)) return "";
  if (!(Number.isFinite(esd) && esd > 0)) return short(value);
  const digits = 1 - Math.floor(Math.log10(Number(esd.toExponential(1))));
  if (digits <= 0) return `${value.toFixed(0)}(${esd.toFixed(0)})`;
  return digits > 12 ? value.toExponential(4) : `${value.toFixed(digits)}(${Math.round(esd * 10 ** digits)})`;
}
