// Figures that are drawn as they stand, and the buttons that change their scale.

const CONFIG = {
  displaylogo: false,
  responsive: true,
  // Named one by one: some versions offer to send the data to a server.
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
  toImageButtonOptions: { format: "png", scale: 2 },
};
const NARROW = window.innerWidth < 600;
const CALM = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const TOUCH = window.matchMedia("(pointer: coarse)").matches;

function element(id) { return document.getElementById(id); }

// Draw, or draw anew with zoom kept. A finger that scrolls the page must not be caught by a plot.
function draw(id, data, layout) {
  const whole = { ...layout, dragmode: TOUCH ? false : "zoom" };
  if (NARROW) { // the legend goes below, where it does not meet the buttons; fewer ticks
    const named = data.filter((trace) => trace.type !== "heatmap" && trace.showlegend !== false && trace.name).length;
    if (named) {
      whole.legend = { ...layout.legend, yref: "container", y: 0, yanchor: "bottom" };
      whole.margin = { ...layout.margin, b: named > 3 ? 112 : 92 };
    }
    if (layout.xaxis && layout.xaxis.dtick) whole.xaxis = { ...layout.xaxis, dtick: 2 * layout.xaxis.dtick };
  }
  return Plotly.react(element(id), data, whole, CONFIG);
}

// What happens when one of a row of buttons is pressed.
function onChoice(id, act) {
  const group = document.querySelector(`.choice[data-for="${id}"]`);
  if (!group) return;
  group.addEventListener("click", (event) => {
    const chosen = event.target.closest("button");
    if (!chosen) return;
    for (const button of group.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button === chosen));
    act(chosen.dataset.value);
  });
}

// Give a map its values on a scale, with a colour bar that tells the values themselves.
function putOnScale(heat, values, range, how) {
  const [low, high] = range.map(SCALES[how].to);
  heat.z = values.map((row) => moved(row, how));
  heat.text = values;
  heat.zmin = low;
  heat.zmax = high;
  heat.colorbar = { ...heat.colorbar, ...ticksOf(how, low, high) };
}

function drawFigure(id, spec) {
  const figure = unpacked(spec), scaled = figure.data.find((trace) => trace.scaled);
  if (!scaled) return draw(id, figure.data, figure.layout);
  const { how, range } = scaled.scaled, values = scaled.z;
  delete scaled.scaled;
  scaled.hoverinfo = "text";
  const put = (chosen) => {
    putOnScale(scaled, values, range, chosen);
    figure.data = figure.data.map((trace) => ({ ...trace }));
    const heat = figure.data.find((trace) => trace.type === "heatmap");
    Object.assign(heat, scaled);
    return draw(id, figure.data, figure.layout);
  };
  onChoice(id, put);
  return put(how);
}

const LOOK = {
  font: { family: "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif", size: 13, color: "#1c2128" },
  margin: { l: 56, r: 14, t: 34, b: 46 },
  legend: { orientation: "h", x: 0, y: 1.01, xanchor: "left", yanchor: "bottom" },
  paper_bgcolor: "#ffffff",
  plot_bgcolor: "#ffffff",
  hovermode: "closest",
  uirevision: "kept",
};
const AXIS = { zeroline: false, ticks: "outside", automargin: true, showline: true, mirror: true, gridcolor: "#e3e6ea", linecolor: "#8a8f98" };

function axisOf(title, more) { return { ...AXIS, title: { text: title }, ...more }; }
