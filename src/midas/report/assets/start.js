// Draw everything; what goes wrong is said on the page, not in a console that nobody looks at.

function trouble(error) {
  const place = element("trouble");
  place.hidden = false;
  place.textContent = `The plots cannot be drawn (${error && error.message ? error.message : error}); texts and tables are complete.`;
}

function startPlotly() {
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(unpackBytes(element("plotly").textContent));
  document.head.append(script);
  element("plotly").remove();
  if (typeof Plotly === "undefined") throw new Error("plotly.js did not start");
}

// On paper plots are as wide as the page, whatever the window.
function fitPaper(on) {
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    if (on) Plotly.relayout(plot, { width: plot.closest(".side") ? 340 : 700, height: plot.offsetHeight > 500 ? 460 : plot.offsetHeight, autosize: false });
    else Plotly.relayout(plot, { width: null, height: null, autosize: true });
  }
}

async function start() {
  const data = JSON.parse(element("data").textContent);
  startPlotly();
  const tasks = [
    ...Object.entries(data.fits).map(([id, spec]) => () => startFits(id, spec)),
    ...Object.entries(data.cakes).map(([id, spec]) => () => startCakes(id, spec)),
    ...Object.entries(data.figures).map(([id, spec]) => () => drawFigure(id, spec)),
  ];
  for (const task of tasks) {
    await task();
    await new Promise((resolve) => setTimeout(resolve)); // the page stays alive meanwhile
  }
  window.addEventListener("beforeprint", () => fitPaper(true));
  window.addEventListener("afterprint", () => fitPaper(false));
  document.body.dataset.ready = "yes";
}

start().catch((error) => { trouble(error); throw error; });
