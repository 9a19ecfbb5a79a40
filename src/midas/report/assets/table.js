// The table of histograms: sorted by any column, of one status or all, a page at a time.

const PAGE = 50;
const ORDER_OF_STATUS = { failed: 0, partial: 1, skipped: 2, success: 3 };

function columnsOf(fits) {
  const columns = [
    { title: "histogram", sort: (k) => k, text: (k) => String(fits.index[k]) },
    ...(fits.file ? [{ title: "file", sort: (k) => fits.file[k], text: (k) => fits.file[k], left: true }] : []),
    { title: "η [deg]", sort: (k) => fits.eta[k], text: (k) => plain(fits.eta[k]) },
    { title: "ω [deg]", sort: (k) => fits.omega[k], text: (k) => plain(fits.omega[k]) },
    { title: "status", sort: (k) => ORDER_OF_STATUS[fits.status[k]], text: (k) => fits.status[k], left: true },
    { title: "Rwp [%]", sort: (k) => fits.rwp[k], text: (k) => (Number.isFinite(fits.rwp[k]) ? fits.rwp[k].toFixed(2) : "–") },
    { title: "GOF", sort: (k) => fits.gof[k], text: (k) => (Number.isFinite(fits.gof[k]) ? fits.gof[k].toFixed(2) : "–") },
  ];
  if (fits.reason.some(Boolean)) {
    columns.push({ title: "reason", sort: (k) => fits.reason[k], text: (k) => fits.reason[k], left: true, wide: true });
  }
  for (const i of fits.columns) {
    const q = fits.quantities[i];
    columns.push({ title: q.unit ? `${q.label} [${q.unit}]` : q.label, sort: (k) => q.value[k], text: (k) => withEsd(q.value[k], q.esd[k]) });
  }
  return columns;
}

function startTable(fits) {
  const table = element(`${fits.id}-table`), pages = element(`${fits.id}-pages`), filter = element(`${fits.id}-filter`);
  const columns = columnsOf(fits), state = { by: columns.findIndex((c) => c.title === "Rwp [%]"), down: true, page: 0, order: [] };
  const head = table.createTHead().insertRow(), body = table.createTBody();

  const sorted = () => {
    const { sort } = columns[state.by], sign = state.down ? -1 : 1;
    const missing = (v) => v === "" || (typeof v === "number" && !Number.isFinite(v));
    const kept = fits.index.map((_, k) => k).filter((k) => filter.value === "all" || fits.status[k] === filter.value);
    return kept.sort((a, b) => {
      const va = sort(a), vb = sort(b);
      if (missing(va) || missing(vb)) return missing(va) - missing(vb) || a - b; // what is not known stands last
      return (va < vb ? -1 : va > vb ? 1 : 0) * sign || a - b;
    });
  };
  const fill = () => {
    const first = state.page * PAGE, rowsShown = state.order.slice(first, first + PAGE);
    body.replaceChildren(...rowsShown.map((k) => {
      const row = document.createElement("tr");
      row.dataset.k = String(k);
      row.tabIndex = 0;
      row.className = `${fits.status[k]}${k === fits.chosen ? " chosen" : ""}`;
      for (const column of columns) {
        const cell = row.insertCell();
        const text = column.text(k), inside = column.wide ? cell.appendChild(document.createElement("div")) : cell;
        inside.textContent = text;
        if (column.wide) cell.title = text; // long ones are cut; whole above the fit
        if (column.left) cell.classList.add("left");
        if (column.wide) cell.classList.add("wide");
      }
      return row;
    }));
    const n = state.order.length, last = Math.max(0, Math.ceil(n / PAGE) - 1);
    pages.replaceChildren();
    if (!last) { pages.textContent = `${n} histograms`; return; }
    const turn = (words, to) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = words;
      button.disabled = to < 0 || to > last;
      button.addEventListener("click", () => { state.page = to; fill(); });
      return button;
    };
    pages.append(turn("◀", state.page - 1), ` ${first + 1} to ${Math.min(n, first + PAGE)} of ${n} `, turn("▶", state.page + 1));
  };
  const renew = () => {
    state.order = sorted();
    state.page = 0;
    columns.forEach((_, i) => head.cells[i].setAttribute("aria-sort", i !== state.by ? "none" : state.down ? "descending" : "ascending"));
    fill();
  };
  columns.forEach((column, i) => {
    const cell = document.createElement("th"), button = document.createElement("button");
    button.type = "button";
    button.textContent = column.title;
    if (column.left) cell.classList.add("left");
    button.addEventListener("click", () => {
      state.down = state.by === i ? !state.down : column.title === "Rwp [%]" || column.title === "GOF";
      state.by = i;
      renew();
    });
    cell.append(button);
    head.append(cell);
  });
  const pick = (event) => {
    const row = event.target.closest("tr");
    if (row && row.dataset.k !== undefined) choose(fits, Number(row.dataset.k), true);
  };
  body.addEventListener("click", pick);
  body.addEventListener("keydown", (event) => { if (event.key === "Enter") pick(event); });
  filter.addEventListener("change", renew);
  renew();
  return {
    order: () => state.order,
    mark: (k) => { for (const row of body.rows) row.classList.toggle("chosen", row.dataset.k === String(k)); },
  };
}
