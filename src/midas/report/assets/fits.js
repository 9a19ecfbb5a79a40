// A refinement: the fit of the histogram chosen, maps of what was refined, and the way from one to the other.

const MARKS = {
  partial: { symbol: "cross-thin-open", color: "#000000", words: "partial" },
  absent: { symbol: "line-ew-open", color: "#000000", words: "without a value" },
  failed: { symbol: "x-thin-open", color: "#c0392b", words: "failed" },
  skipped: { symbol: "circle", color: "#7f7f7f", words: "skipped" },
};
const RWP_COLOURS = { success: "#2c6fbb", partial: "#e0a030", failed: "#c0392b" };
const STATUS_COLOURS = { success: "#1c2128", partial: "#8a5300", failed: "#b3261e", skipped: "#57606a" };

function startFits(id, spec) {
  const fits = { ...unpacked({ ...spec, curves: null }), curves: spec.curves, id, how: "sqrt", chosen: -1 };
  fits.axes = fits.axes.map((x) => Float32Array.from(x));
  fits.table = startTable(fits);
  onChoice(`${id}-plot`, (how) => { fits.how = how; drawFit(fits); });
  element(`${id}-previous`).addEventListener("click", () => step(fits, -1));
  element(`${id}-next`).addEventListener("click", () => step(fits, 1));
  const drawn = [choose(fits, spec.first, false)], select = element(`${id}-quantity`);
  if (select) {
    select.addEventListener("change", () => drawMap(fits));
    drawn.push(drawRwp(fits));
    drawn.push(drawMap(fits).then(() => {
      element(`${id}-map`).on("plotly_click", (event) => {
        const k = event.points.map((p) => fits.at(p)).find((found) => found !== undefined && found >= 0);
        if (k !== undefined) choose(fits, k, true);
      });
    }));
  }
  return Promise.all(drawn);
}

// Show a histogram: its fit, its row, and, when it was clicked somewhere else on the page, the plot itself.
function choose(fits, k, scroll) {
  fits.chosen = k;
  fits.table.mark(k);
  const drawn = drawFit(fits);
  if (scroll) element(`${fits.id}-name`).scrollIntoView({ block: "start", behavior: CALM ? "auto" : "smooth" });
  return drawn;
}

// The one before or after in the order of the table.
function step(fits, by) {
  const order = fits.table.order(), next = order[order.indexOf(fits.chosen) + by];
  if (next !== undefined) choose(fits, next, false);
}

function nameOf(fits, k) {
  const words = [`histogram ${fits.index[k]}`];
  if (fits.file) words.push(fits.file[k]);
  if (Number.isFinite(fits.eta[k])) words.push(`η ${plain(fits.eta[k])} deg`);
  if (Number.isFinite(fits.omega[k])) words.push(`ω ${plain(fits.omega[k])} deg`);
  return words.join(", ");
}

function drawFit(fits) {
  const k = fits.chosen, name = element(`${fits.id}-name`), place = `${fits.id}-plot`;
  const layout = { ...LOOK, legend: { ...LOOK.legend, font: { size: 12 } }, uirevision: `fit ${fits.how}`, grid: undefined };
  if (k < 0) { name.textContent = "no histogram"; return draw(place, [], layout); }
  const rwp = Number.isFinite(fits.rwp[k]) ? `Rwp ${fits.rwp[k].toFixed(2)} %` : "no Rwp";
  name.replaceChildren();
  const head = document.createElement("strong"), why = document.createElement("span");
  head.textContent = `${nameOf(fits, k)}: ${fits.status[k]}, ${rwp}`;
  head.style.color = STATUS_COLOURS[fits.status[k]] || "#1c2128";
  why.textContent = [fits.reason[k], fits.stages[k]].filter(Boolean).join(" · ");
  name.append(head, document.createElement("br"), why);
  const stored = fits.curves[String(k)];
  if (!stored) {
    const text = fits.status[k] === "skipped" ? "skipped: nothing was fitted" : "no curves of this histogram in this file";
    return draw(place, [], { ...layout, xaxis: { visible: false }, yaxis: { visible: false },
      annotations: [{ text, showarrow: false, x: 0.5, y: 0.5, xref: "paper", yref: "paper", font: { size: 15 } }] });
  }
  const curve = curvesOf(fits, stored), to = SCALES[fits.how].to, data = [], shift = fits.how === "linear" ? 0 : curve.floor;
  const onScale = (values) => Float32Array.from(values, (v) => to(fits.how === "log" ? Math.max(v, curve.least) : v - shift));
  const add = (y, label, look, extra) => data.push({ type: "scatter", x: curve.x, y: onScale(y), name: label, ...look, customdata: y,
    hovertemplate: `2θ %{x:.4f}: %{customdata:.5~g}<extra>${label}</extra>`, ...extra });
  add(curve.background, "background", { mode: "lines", line: { color: "#8a8f98", width: 1.2, dash: "dash" } }, { legendrank: 3 });
  add(curve.calculated, "calculated", { mode: "lines", line: { color: "#e0442e", width: 1.6 } }, { legendrank: 2 });
  add(curve.observed, "observed", { mode: "markers", marker: { color: "#333333", size: 3.2 } }, { legendrank: 1 });
  stored.t_names.forEach((phase, i) => {
    const at = unpack(stored.t[i]).filter((v) => v >= curve.x[0] && v <= curve.x[curve.x.length - 1]);
    data.push({ type: "scatter", mode: "markers", x: at, y: new Float32Array(at.length).fill(-i), yaxis: "y3", name: phase, legendrank: 4,
      marker: { symbol: "line-ns-open", size: 9, color: fits.colours[i % fits.colours.length], line: { width: 1.3 } }, hovertemplate: `${phase} %{x:.4f}<extra></extra>` });
  });
  data.push({ type: "scatter", mode: "lines", x: curve.x, y: curve.ratio, yaxis: "y2", showlegend: false, line: { color: "#2c6fbb", width: 0.9 },
    hovertemplate: "2θ %{x:.4f}: %{y:.1f} σ<extra></extra>" });
  const reach = Math.max(5, 1.1 * curve.ratio.reduce((most, v) => (Number.isFinite(v) ? Math.max(most, Math.abs(v)) : most), 0));
  const shown = data.slice(1, 3).flatMap((t) => Array.from(t.y)).filter(Number.isFinite);
  const low = shown.reduce((a, b) => Math.min(a, b), Infinity), high = shown.reduce((a, b) => Math.max(a, b), -Infinity);
  const margin = 0.05 * (high - low || 1), n = Math.max(1, stored.t_names.length);
  const ticks = ticksOf(fits.how, low, high);
  if (shift) ticks.ticktext = ticks.tickvals.map((s) => short(SCALES[fits.how].from(s) + shift));
  return draw(place, data, {
    ...layout,
    xaxis: axisOf("2θ [deg]", { anchor: "y2", mirror: "all", range: [curve.x[0], curve.x[curve.x.length - 1]] }),
    yaxis: axisOf({ sqrt: "intensity (root scale)", log: "intensity (log scale)", linear: "intensity" }[fits.how],
      { domain: [0.28 + 0.025 * n, 1], range: [low - margin, high + margin], ...ticks }),
    yaxis3: axisOf("", { domain: [0.26, 0.27 + 0.025 * n], range: [-n + 0.4, 0.6], showticklabels: false, ticks: "", showgrid: false, fixedrange: true }),
    yaxis2: axisOf("Δ / σ", { domain: [0, 0.25], range: [-reach, reach], nticks: 5 }),
    shapes: [{ type: "rect", xref: "paper", x0: 0, x1: 1, yref: "y2", y0: -3, y1: 3, fillcolor: "#2c6fbb", opacity: 0.13, line: { width: 0 }, layer: "below" }],
  });
}

// The curves of a histogram as they were: see `_stored` of the refinement's part.
function curvesOf(fits, stored) {
  const x = fits.axes[stored.x], n = x.length, model = unpack(stored.c), level = unpack(stored.s), ratio = unpack(stored.r), back = unpack(stored.b);
  const [logLow, logHigh] = stored.s_log, found = { x: [], observed: [], calculated: [], background: [], ratio: [] };
  const steps = Float32Array.from({ length: Math.max(n - 1, 0) }, (_, i) => x[i + 1] - x[i]);
  const usual = n > 1 ? Float32Array.from(steps).sort()[Math.floor(steps.length / 2)] : 0;
  for (let i = 0; i < n; i++) {
    if (i && steps[i - 1] > fits.gap * usual) { // excluded or masked: no line goes over it
      found.x.push(0.5 * (x[i - 1] + x[i]));
      for (const key of ["observed", "calculated", "background", "ratio"]) found[key].push(NaN);
    }
    const calc = stored.low + (model[i] * stored.step) ** 2, r = ratio[i] * stored.unit;
    const sigma = Math.exp(logLow + (level[i] / 254) * (logHigh - logLow)), j = Math.min(Math.floor(i / stored.every), back.length - 2);
    const right = Math.min((j + 1) * stored.every, n - 1), share = j < 0 ? 0 : (i - j * stored.every) / Math.max(right - j * stored.every, 1);
    found.x.push(x[i]);
    found.calculated.push(calc);
    found.observed.push(calc + r * sigma);
    found.ratio.push(r);
    found.background.push(j < 0 ? back[0] : back[j] + share * (back[j + 1] - back[j]));
  }
  const known = found.observed.filter(Number.isFinite), above = known.filter((v) => v > 0).sort((a, b) => a - b);
  found.floor = Math.min(0, known.reduce((a, b) => Math.min(a, b), 0));
  found.least = above.length ? 0.5 * above[Math.floor(0.01 * above.length)] : 1;
  return found;
}

function drawMap(fits) {
  const { grid } = fits, q = fits.quantities[Number(element(`${fits.id}-quantity`).value)];
  const rowsN = grid.omega.length, columnsN = grid.eta.length, at = new Map();
  fits.place.forEach(([row, column], k) => at.set(row * columnsN + column, k));
  const values = Array.from(q.value), marks = { partial: [], absent: [], failed: [], skipped: [] };
  fits.status.forEach((status, k) => {
    const known = Number.isFinite(values[k]);
    if (status === "failed" || status === "skipped") marks[status].push(k);
    else if (!known) marks.absent.push(k);
    else if (status === "partial") marks.partial.push(k);
  });
  const label = q.unit ? `${q.label} [${q.unit}]` : q.label;
  element(`${fits.id}-esd`).textContent = q.median_esd === null ? "" : `median esd ${short(q.median_esd)}${q.unit ? ` ${q.unit}` : ""}`;
  const layout = { ...LOOK, uirevision: `map ${q.label}` };
  const hover = (k) => `${nameOf(fits, k)}<br>${fits.status[k]}${Number.isFinite(values[k]) ? `, ${withEsd(values[k], q.esd[k])}` : ""}`;
  if (rowsN > 1 && columnsN > 1) {
    fits.at = (p) => (p.customdata !== undefined && p.data.type === "scatter" ? p.customdata : at.get(p.pointIndex[0] * columnsN + p.pointIndex[1]));
    return mapOfTwo(fits, q, { values, marks, at, hover, layout, label });
  }
  fits.at = (p) => p.customdata;
  return lineOfOne(fits, q, { values, marks, hover, layout, label });
}

// How many histograms have which Rwp; the few far beyond the others are counted in the last bar.
function drawRwp(fits) {
  const known = Array.from(fits.rwp).filter(Number.isFinite).sort((a, b) => a - b), n = known.length;
  if (!n) return draw(`${fits.id}-rwp`, [], { ...LOOK });
  const low = known[0], usual = known[Math.floor(0.9 * (n - 1))], high = Math.min(known[n - 1], usual + 0.6 * (usual - low)) || low + 1;
  const bars = Math.min(60, Math.max(8, Math.round(1.5 * Math.sqrt(n)))), size = (high - low) / bars || 1;
  const x = Array.from({ length: bars }, (_, i) => low + (i + 0.5) * size), beyond = known.filter((v) => v > high).length;
  const data = ["success", "partial", "failed"].map((status) => {
    const y = new Array(bars).fill(0);
    fits.rwp.forEach((v, k) => { if (fits.status[k] === status && Number.isFinite(v)) y[Math.min(bars - 1, Math.floor((v - low) / size))] += 1; });
    return { type: "bar", name: `${y.reduce((a, b) => a + b, 0)} ${status}`, x, y, width: size, marker: { color: RWP_COLOURS[status] }, hovertemplate: `%{y} ${status}<extra></extra>` };
  }).filter((trace) => trace.y.some(Boolean));
  const tallest = Math.max(...x.map((_, i) => data.reduce((sum, trace) => sum + trace.y[i], 0)));
  const annotations = beyond ? [{ text: `last bar: ${beyond} above ${short(high)} %, up to ${short(known[n - 1])} %`, showarrow: false, xref: "paper", yref: "paper", x: 0.98, y: 0.97, xanchor: "right" }] : [];
  return draw(`${fits.id}-rwp`, data, { ...LOOK, barmode: "stack", bargap: 0, annotations, 
    xaxis: axisOf("Rwp [%]", { tick0: 0, dtick: niceStep((high - low) / 6) }),
    yaxis: axisOf("histograms", { rangemode: "tozero", tick0: 0, dtick: Math.max(1, niceStep(tallest / 4)) }) });
}

function marked(fits, marks, hover, place) {
  return Object.keys(MARKS).filter((name) => marks[name].length).map((name) => ({
    type: "scatter", mode: "markers", name: `${marks[name].length} ${MARKS[name].words}`, customdata: marks[name], text: marks[name].map(hover),
    hovertemplate: "%{text}<extra></extra>", ...place(marks[name]), cliponaxis: false,
    marker: { symbol: MARKS[name].symbol, color: MARKS[name].color, size: name === "skipped" ? 5 : 9, line: { width: 1.8, color: MARKS[name].color } },
  }));
}

function mapOfTwo(fits, q, { values, marks, at, hover, layout, label }) {
  const { grid } = fits, width = grid.eta.length, z = [], text = [], grey = [];
  for (let i = 0; i < grid.omega.length; i++) {
    const ks = Array.from({ length: width }, (_, j) => at.get(i * width + j));
    z.push(ks.map((k) => (k === undefined || !Number.isFinite(values[k]) ? null : values[k])));
    grey.push(ks.map((k) => (k === undefined || Number.isFinite(values[k]) ? null : 1)));
    text.push(ks.map((k) => (k === undefined ? "" : hover(k))));
  }
  const base = { type: "heatmap", x: Array.from(grid.eta), y: Array.from(grid.omega), xgap: 0.5, ygap: 0.5 };
  const data = [
    { ...base, z: grey, colorscale: [[0, "#e0e0e0"], [1, "#e0e0e0"]], showscale: false, hoverinfo: "skip" },
    { ...base, z, text, zmin: q.range[0], zmax: q.range[1], colorscale: "Viridis", name: label, hovertemplate: "%{text}<extra></extra>",
      colorbar: { title: { text: q.unit, side: "top" }, thickness: 12, len: 1, outlinewidth: 0, exponentformat: "power" } },
    ...marked(fits, marks, hover, (ks) => ({ x: ks.map((k) => grid.eta[fits.place[k][1]]), y: ks.map((k) => grid.omega[fits.place[k][0]]) })),
  ];
  const whole = grid.eta_label.startsWith("η") && Math.abs(grid.eta[width - 1] - grid.eta[0]) > 180;
  return draw(`${fits.id}-map`, data, { ...layout, xaxis: axisOf(grid.eta_label, { showgrid: false, ...(whole ? { dtick: 45 } : {}) }),
    yaxis: axisOf(grid.omega_label, { showgrid: false }) });
}

function lineOfOne(fits, q, { values, marks, hover, layout, label }) {
  const { grid } = fits, alongEta = grid.omega.length === 1, along = alongEta ? grid.eta : grid.omega;
  const x = fits.place.map(([row, column]) => along[alongEta ? column : row]), ks = x.map((_, k) => k).filter((k) => Number.isFinite(values[k]));
  const esds = Array.from(q.esd), errors = ks.map((k) => (Number.isFinite(esds[k]) ? esds[k] : 0));
  ks.sort((a, b) => x[a] - x[b]);
  const room = errors.reduce((a, b) => Math.max(a, b), 0), margin = 0.1 * (q.range[1] - q.range[0]) + Math.min(room, q.range[1] - q.range[0]);
  const low = q.range[0] - margin, high = q.range[1] + margin;
  const data = [
    { type: "scatter", mode: "lines+markers", name: `${ks.length} values`, x: ks.map((k) => x[k]), y: ks.map((k) => values[k]), customdata: ks,
      text: ks.map(hover), hovertemplate: "%{text}<extra></extra>", line: { color: "#b9c3cf", width: 1 }, marker: { color: "#2c6fbb", size: 7 },
      error_y: { type: "data", array: ks.map((k) => (Number.isFinite(esds[k]) ? esds[k] : 0)), color: "#2c6fbb", thickness: 1.2, width: 2 } },
    ...marked(fits, marks, hover, (of) => ({ x: of.map((k) => x[k]), y: of.map((k) => (Number.isFinite(values[k]) ? values[k] : low + 0.03 * (high - low))) })),
  ];
  return draw(`${fits.id}-map`, data, { ...layout, xaxis: axisOf(alongEta ? grid.eta_label : grid.omega_label, alongEta && Math.abs(along[along.length - 1] - along[0]) > 180 ? { dtick: 45 } : {}), yaxis: axisOf(label, { range: [low, high], exponentformat: "power", tickformat: "" }) });
}
