// The browser of caked sums: a map with a slider, the profile of the sum shown, and all profiles as a waterfall.

const GAP = "#cddef0";

function startCakes(id, spec) {
  const cake = unpacked({ ...spec, levels: null }), levels = unpack(spec.levels), [, height, width] = spec.levels.n;
  const state = { how: "log", shown: 0 };
  const slider = element(`${id}-slider`), x = Array.from(cake.two_theta), y = Array.from(cake.eta);
  const half = x.length > 1 ? 0.5 * (x[1] - x[0]) : 0.5, reach = { range: [x[0] - half, x[x.length - 1] + half] };
  const wide = y.length && y[y.length - 1] - y[0] > 180;
  const show = () => {
    // (R, eta) as stored; plotly wants a row for each azimuth.
    const values = y.map((_, j) => Float32Array.from({ length: height }, (__, i) => levels[(state.shown * height + i) * width + j]));
    const heat = {
      type: "heatmap", x, y, colorscale: "Viridis", name: "cake",
      colorbar: { title: { text: cake.unit, side: "top", font: { size: 12 } }, thickness: 12, len: 1, outlinewidth: 0 },
      hovertemplate: `2θ %{x:.4f} deg, η %{y:.1f} deg<br>%{text:.4~g} ${cake.unit}<extra></extra>`,
    };
    putOnScale(heat, values, cake.range, state.how);
    element(`${id}-name`).textContent = cake.labels[state.shown];
    const profile = { type: "scatter", mode: "lines", x: cake.profile_two_theta, y: cake.profiles[state.shown], line: { color: "#2563ab", width: 1.2 } };
    // Both plots share their margins, so that a peak lies below its ring.
    const margin = { ...LOOK.margin, l: 66, r: NARROW ? 84 : 110, autoexpand: false }, fixed = { automargin: false };
    return Promise.all([
      draw(`${id}-map`, [heat], { ...LOOK, margin, plot_bgcolor: GAP, xaxis: axisOf("2θ [deg]", { showgrid: false, ...reach }),
        yaxis: axisOf("η [deg] (0: to higher rows, 90: to higher columns)", { ...fixed, showgrid: false, ...(wide ? { dtick: 45 } : {}) }) }),
      draw(`${id}-profile`, [profile], { ...LOOK, margin, xaxis: axisOf("2θ [deg]", reach), yaxis: axisOf(cake.unit, fixed) }),
    ]);
  };
  onChoice(`${id}-map`, (how) => { state.how = how; show(); });
  if (slider) slider.addEventListener("input", () => { state.shown = Number(slider.value); show(); });
  const drawn = [show().then(() => zoomTogether(element(`${id}-map`), element(`${id}-profile`)))];
  if (element(`${id}-waterfall`)) {
    const put = (kind) => (kind === "map" ? waterfallMap(id, cake) : waterfallLines(id, cake));
    onChoice(`${id}-waterfall`, put);
    drawn.push(put("lines"));
  }
  return Promise.all(drawn);
}

// Zooming one of two plots zooms the other along 2θ.
function zoomTogether(one, other) {
  const follow = (from, to) => from.on("plotly_relayout", () => {
    const range = from.layout.xaxis.range, now = to.layout.xaxis.range;
    if (range && (!now || Math.abs(range[0] - now[0]) + Math.abs(range[1] - now[1]) > 1e-9)) Plotly.relayout(to, { "xaxis.range": [...range] });
  });
  follow(one, other);
  follow(other, one);
}

// A colour between the ends of a scale that colour-blind people see as dark to light: viridis in five steps.
function between(share) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [202, 190, 30]];
  const place = share * (stops.length - 1), k = Math.min(Math.floor(place), stops.length - 2), f = place - k;
  return `rgb(${stops[k].map((v, i) => Math.round(v + f * (stops[k + 1][i] - v))).join(",")})`;
}

function waterfallLines(id, cake) {
  const every = Math.max(1, Math.ceil(cake.waterfall.length / 40));
  const chosen = cake.waterfall.map((_, k) => k).filter((k) => k % every === 0);
  const finite = [];
  for (const k of chosen) for (const v of cake.waterfall[k]) if (Number.isFinite(v)) finite.push(Math.sqrt(v));
  finite.sort((a, b) => a - b);
  const spread = finite.length ? finite[Math.floor(0.995 * (finite.length - 1))] - finite[Math.floor(0.02 * (finite.length - 1))] : 1;
  const lift = (spread || 1) * Math.min(0.5, 2.5 / chosen.length + 0.06);
  const data = chosen.map((k, i) => ({
    type: "scatter", mode: "lines", name: cake.waterfall_labels[k], showlegend: false, text: Array.from(cake.waterfall[k]),
    x: cake.profile_two_theta, y: Float32Array.from(cake.waterfall[k], (v) => Math.sqrt(v) + i * lift),
    line: { color: between(chosen.length > 1 ? i / (chosen.length - 1) : 0), width: 1.1 },
    hovertemplate: "2θ %{x:.4f} deg, %{text:.4~g}<extra>%{fullData.name}</extra>",
  }));
  const some = every > 1 ? `, one of ${every} sums` : "";
  return draw(`${id}-waterfall`, data, { ...LOOK, xaxis: axisOf("2θ [deg]"), yaxis: axisOf(`√(${cake.unit}), lifted${some}`, { showticklabels: false, ticks: "" }) });
}

function waterfallMap(id, cake) {
  const heat = { type: "heatmap", x: cake.profile_two_theta, colorscale: "Viridis",
    colorbar: { title: { text: cake.unit, side: "top" }, thickness: 12, len: 1, outlinewidth: 0 },
    hovertemplate: `2θ %{x:.4f} deg, sum %{y}<br>%{text:.4~g} ${cake.unit}<extra></extra>` };
  const range = [Infinity, 0];
  for (const row of cake.waterfall) for (const v of row) if (v > 0) { range[0] = Math.min(range[0], v); range[1] = Math.max(range[1], v); }
  putOnScale(heat, cake.waterfall, range, "log");
  return draw(`${id}-waterfall`, [heat], { ...LOOK, plot_bgcolor: GAP, xaxis: axisOf("2θ [deg]", { showgrid: false }), yaxis: axisOf("sum, from 0", { showgrid: false }) });
}
