"use strict";
// Features x ticks: each cell shows how close a value is to its bound. A real table, so that screen readers can read it.
(() => {
  const { h } = mlprod;
  const WITHIN = [0.25, 0.5, 0.75, 1]; // shares of the bound: cells w0 to w4
  const BEYOND = [2, 4]; // times the bound: cells b0 to b2
  const FEWEST = 10;

  // The value divided by its bound; for a feature without a bound, by the median bound of the others.
  function relative(column, i, usual) {
    const [value, low, high] = [column.values[i], column.low[i], column.high[i]];
    if (value === null) return null;
    if (high !== null && high > 0) return value / high;
    if (low !== null && low > 0) return value > 0 ? low / value : Infinity;
    if (high === null && low === null) return usual ? Math.abs(value) / usual : 0;
    return column.breached.includes(i) ? 2 : 0;
  }

  function level(column, i, usual, breached) {
    const ratio = relative(column, i, usual);
    if (ratio === null) return column.n[i] === null ? "none" : "unmeasured";
    if (breached) return `b${BEYOND.filter((edge) => ratio >= edge).length}`;
    return `w${WITHIN.filter((edge) => ratio >= edge).length}`;
  }

  function usualBound(map) {
    const bounds = map.rows.flatMap((row) => row.column.high).filter((v) => v !== null && v > 0).sort((a, b) => a - b);
    return bounds.length ? bounds[bounds.length >> 1] : null;
  }

  function cellParts(map, row, i, shared) {
    const { column } = row;
    const version = shared.scored_by[i];
    const head = `${row.feature}, ${mlprod.longDay(shared.ticks[i])}${version === null ? "" : `, version ${version}`}`;
    if (column.told[i]) {
      const sentence = column.told[i].replace(`${shared.ticks[i]}: `, "");
      return { head, value: mlprod.number(column.values[i]), bound: mlprod.bounds(column.low[i], column.high[i]), breached: column.breached.includes(i), note: sentence, cause: column.causes[i] };
    }
    if (column.values[i] === null) return { head, value: "no value", bound: "", note: "" };
    const bound = mlprod.bounds(column.low[i], column.high[i]);
    const words = map.words.replaceAll("{slice}", row.feature);
    const verdict = bound === "no bound" ? "no bound is set" : "within its bound";
    return { head, value: mlprod.number(column.values[i]), bound, note: `${words}: ${verdict}; n = ${(column.n[i] || 0).toLocaleString("en-US")}` };
  }

  const nodes = (part) => [
    h("div", { class: "head" }, part.head),
    h("div", { class: part.breached ? "row breached" : "row" }, h("b", {}, part.value), part.bound && h("span", { class: "bound" }, part.breached ? `outside: ${part.bound}` : part.bound)),
    part.note && h("p", {}, part.note),
    part.cause && h("p", { class: "cause" }, part.cause),
  ].filter(Boolean);
  const text = (part) => [part.head, part.value, part.breached ? `outside its bound, ${part.bound}` : part.bound, part.note, part.cause].filter(Boolean).join(", ");

  // Ticks by week: one heading for each Monday; if ticks are further apart than a day, one for every five of them.
  function weeks(ticks) {
    const out = [];
    const begins = mlprod.areDaily(ticks) ? mlprod.isMonday : (_, i) => i % 5 === 0;
    ticks.forEach((tick, i) => {
      if (i === 0 || begins(tick, i)) out.push({ tick, span: 0 });
      out[out.length - 1].span += 1;
    });
    return out;
  }

  function rowOf(map, row, shared, usual) {
    const { column } = row;
    const breached = new Set(column.breached);
    const gain = row.gain_share === null ? "" : `${(row.gain_share * 100).toFixed(1)} %`;
    const name = h("th", { scope: "row", class: row.important ? "important" : null },
      h("span", { class: "feature", title: row.feature }, row.feature), gain && h("span", { class: "gain" }, gain));
    const cells = shared.ticks.map((_, i) => {
      const bounded = column.high[i] !== null || column.low[i] !== null;
      const classes = [level(column, i, usual, breached.has(i)), !bounded && column.values[i] !== null && "unbounded", shared.starts.has(i) && "newversion"];
      return h("td", { role: "gridcell", tabindex: -1, class: classes.filter(Boolean).join(" "), "data-i": i });
    });
    return h("tr", { role: "row" }, name, cells);
  }

  function legend(map) {
    const cell = (name) => h("span", { class: `swatch ${name}` });
    return h("p", { class: "heatlegend" },
      h("span", {}, "0", ["w0", "w1", "w2", "w3"].map(cell), "bound"),
      h("span", {}, ["b0", "b1", "b2"].map(cell), "up to 2×, 4×, beyond"),
      h("span", {}, cell("unmeasured"), "not measured"),
      map.rows.some((row) => row.column.high.some((v, i) => v === null && row.column.values[i] !== null)) && h("span", {}, cell("w2 unbounded"), "no bound: shaded by the bounds of other features"),
      map.rows.some((row) => row.gain_share !== null) && h("span", {}, "%: share of the model's gain"));
  }

  mlprod.heat = (map, shared) => {
    const usual = usualBound(map);
    shared.starts = new Set(shared.marks.map((mark) => mark.index));
    const first = map.rows.filter((row, i) => i < FEWEST || row.important || row.column.breached.length);
    const body = h("tbody", {}, first.map((row) => rowOf(map, row, shared, usual)));
    let rows = first;
    const grid = h("table", { role: "grid", class: `heat ${shared.ticks.length > 150 ? "many" : shared.ticks.length < 32 ? "few" : ""}`, "aria-label": `${map.title}, features by ticks: arrow keys move from cell to cell` },
      h("thead", {}, h("tr", { role: "row" }, h("th", { scope: "col" }, "feature"),
        weeks(shared.ticks).map((week) => h("th", { colspan: week.span, scope: "colgroup" }, week.span > 3 ? mlprod.day(week.tick) : "")))),
      body);
    const scroll = h("div", { class: "heatscroll" }, grid);

    const cellAt = (r, i) => body.rows[r] && body.rows[r].cells[i + 1];
    let current = null;
    function makeCurrent(cell) {
      if (current) current.tabIndex = -1;
      current = cell;
      current.tabIndex = 0;
    }
    makeCurrent(cellAt(0, shared.ticks.length - 1));

    function tell(cell) {
      const r = cell.parentNode.sectionRowIndex;
      const part = cellParts(map, rows[r], Number(cell.dataset.i), shared);
      cell.setAttribute("aria-label", text(part));
      const box = cell.getBoundingClientRect();
      mlprod.tip.show(nodes(part), box.left + box.width / 2, box.top, cell === document.activeElement ? cell : null);
    }
    body.addEventListener("pointerover", (event) => event.target.closest("td") && tell(event.target.closest("td")));
    body.addEventListener("pointerleave", () => mlprod.tip.hide());
    body.addEventListener("focusin", (event) => {
      const cell = event.target.closest("td");
      if (cell) [makeCurrent, tell].forEach((act) => act(cell));
    });
    body.addEventListener("focusout", () => mlprod.tip.hide());
    body.addEventListener("keydown", (event) => {
      const cell = event.target.closest("td");
      if (!cell) return;
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity], PageUp: [-10, 0], PageDown: [10, 0] }[event.key];
      if (!step) return;
      event.preventDefault();
      const clamp = (value, most) => Math.max(0, Math.min(most, value));
      const r = clamp(cell.parentNode.sectionRowIndex + step[0], body.rows.length - 1);
      const next = cellAt(r, clamp(Number(cell.dataset.i) + step[1], shared.ticks.length - 1));
      next.setAttribute("aria-label", text(cellParts(map, rows[r], Number(next.dataset.i), shared)));
      next.focus();
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
      tell(next);
    });

    const rest = map.rows.length - first.length;
    const more = rest > 0 && h("button", {
      type: "button", class: "quiet", onclick: (event) => {
        rows = map.rows;
        body.replaceChildren(...rows.map((row) => rowOf(map, row, shared, usual)));
        makeCurrent(cellAt(0, shared.ticks.length - 1));
        event.target.remove();
        current.focus();
      },
    }, `Show all ${map.rows.length} features`);
    const table = mlprod.tableOnDemand(`${map.title} as numbers`, () =>
      mlprod.table(`${map.title}: values; those outside their bound are marked with !`, ["feature", ...shared.ticks],
        map.rows.map((row) => [row.feature, ...row.column.values.map((v, i) => mlprod.number(v) + (row.column.breached.includes(i) ? " !" : ""))])));
    requestAnimationFrame(() => (scroll.scrollLeft = scroll.scrollWidth));
    return h("div", { class: "heatmap", "data-what": map.what }, legend(map), scroll, more, table);
  };
})();
