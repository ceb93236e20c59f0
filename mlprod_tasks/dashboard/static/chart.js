"use strict";
// A line chart over ticks: estimated and realised values, intervals, bounds, breaches, versions; also as text and as a table.
(() => {
  const { h, s } = mlprod;
  const HEIGHT = 172;
  const EDGE = { left: 52, right: 12, top: 16, bottom: 22 };
  const WIDEST_DOTS = 130;

  // The values to draw: those of the ledger, multiplied by the reference if they are ratios to it.
  function scaled(line, chart) {
    const { column } = line;
    const times = (values) =>
      chart.times_reference ? values.map((v, i) => (v === null || column.reference[i] === null ? null : v * column.reference[i])) : values;
    return {
      ...line,
      values: times(column.values),
      low: times(column.low),
      high: times(column.high),
      from: times(column.interval_low),
      to: times(column.interval_high),
      breached: new Set(column.breached),
    };
  }

  // The range of the values, with a bound only if it does not squash them.
  function extent(lines) {
    const all = lines.flatMap((line) => [...line.values, ...line.from, ...line.to]).filter((v) => v !== null);
    let low = Math.min(...all), high = Math.max(...all);
    const span = high - low || Math.abs(high) * 0.1 || 1;
    for (const bound of lines.flatMap((line) => [...line.low, ...line.high])) {
      if (bound === null) continue;
      if (bound >= low - 1.2 * span && bound < low) low = bound;
      if (bound <= high + 1.2 * span && bound > high) high = bound;
    }
    const pad = (high - low || Math.abs(high) * 0.1 || 0.05) * 0.08;
    if (low === 0 && high === 0) return [0, 0.05];
    // No axis below zero if no value is negative.
    return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
  }

  // A path through the indices that have a value, with gaps at the others.
  function path(values, x, y) {
    let out = "", pen = false;
    values.forEach((value, i) => {
      if (value === null) pen = false;
      else {
        out += `${pen ? "L" : "M"}${x(i).toFixed(1)},${y(value).toFixed(1)}`;
        pen = true;
      }
    });
    return out;
  }

  // A bound spans the whole width of its tick.
  function steps(values, x, y, half) {
    let out = "", last = null;
    values.forEach((value, i) => {
      if (value === null) last = null;
      else {
        out += `${last === null ? "M" : "L"}${(x(i) - half).toFixed(1)},${y(value).toFixed(1)}H${(x(i) + half).toFixed(1)}`;
        last = value;
      }
    });
    return out;
  }

  // Runs of equal values: value, first index, index past the last.
  function runs(values) {
    const out = [];
    values.forEach((value, i) => {
      const last = out[out.length - 1];
      if (value === null) return;
      if (last && last[0] === value && last[2] === i) last[2] = i + 1;
      else out.push([value, i, i + 1]);
    });
    return out;
  }

  function band(from, to, x, y) {
    const out = [];
    let run = [];
    const close = () => {
      if (run.length > 1) {
        const upper = run.map((i) => `${x(i).toFixed(1)},${y(to[i]).toFixed(1)}`);
        const lower = run.slice().reverse().map((i) => `${x(i).toFixed(1)},${y(from[i]).toFixed(1)}`);
        out.push(`M${upper.join("L")}L${lower.join("L")}Z`);
      }
      run = [];
    };
    from.forEach((value, i) => (value === null || to[i] === null ? close() : run.push(i)));
    close();
    return out.join("");
  }

  function axisDays(ticks, room) {
    const every = Math.max(1, Math.ceil(ticks.length / Math.max(2, Math.floor(room / 62))));
    return ticks.map((_, i) => i).filter((i) => i % every === 0);
  }

  function draw(plot, chart, lines, shared) {
    const { ticks } = shared;
    const width = Math.max(240, plot.clientWidth);
    const inner = { w: width - EDGE.left - EDGE.right, h: HEIGHT - EDGE.top - EDGE.bottom };
    const slot = inner.w / ticks.length;
    const [low, high] = extent(lines);
    const x = (i) => EDGE.left + (i + 0.5) * slot;
    const y = (value) => EDGE.top + inner.h * (1 - (value - low) / (high - low));
    const svg = s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true", focusable: "false" });
    const clip = `clip-${(draw.clips = (draw.clips || 0) + 1)}`;
    svg.append(s("clipPath", { id: clip }, s("rect", { x: EDGE.left, y: EDGE.top - 2, width: inner.w, height: inner.h + 4 })));
    const marks = mlprod.niceTicks(low, high, 4).filter((v) => v >= low && v <= high);
    for (const value of marks) {
      svg.append(s("line", { class: value === 0 ? "zero" : "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }));
      svg.append(s("text", { class: "axis", x: EDGE.left - 7, y: y(value) + 3.5, "text-anchor": "end" }, mlprod.number(value, chart.form)));
    }
    for (const i of axisDays(ticks, inner.w)) {
      svg.append(s("text", { class: "axis", x: x(i), y: HEIGHT - 6, "text-anchor": "middle" }, mlprod.day(ticks[i])));
    }
    const clipped = s("g", { "clip-path": `url(#${clip})` });
    svg.append(clipped);
    versionMarks(svg, shared, x, slot, inner);
    lines.forEach((line, number) => drawLine(clipped, line, number, { x, y, slot, inner, width, ticks }));
    const cursor = s("line", { class: "cursor", y1: EDGE.top, y2: EDGE.top + inner.h, visibility: "hidden" });
    const brush = s("rect", { class: "brush", y: EDGE.top, height: inner.h, visibility: "hidden" });
    svg.append(brush, cursor);
    plot.replaceChildren(svg);
    const at = (clientX) => {
      const inside = clientX - plot.getBoundingClientRect().left;
      return Math.max(0, Math.min(ticks.length - 1, Math.floor((inside - EDGE.left) / slot)));
    };
    return { x, y, slot, cursor, brush, at };
  }

  function versionMarks(svg, shared, x, slot, inner) {
    for (const mark of shared.marks) {
      const left = x(mark.index) - slot / 2;
      svg.append(s("line", { class: "version", x1: left, x2: left, y1: EDGE.top - 4, y2: EDGE.top + inner.h }));
      svg.append(s("text", { class: "version", x: left + 4, y: EDGE.top - 5 }, mark.text));
    }
  }

  function drawLine(clipped, line, number, { x, y, slot, inner, ticks }) {
    const kind = `line ${line.role} n${number % 6}`;
    if (line.role === "estimated") clipped.append(s("path", { class: `band n${number % 6}`, d: band(line.from, line.to, x, y) }));
    for (const [bound, beyond] of [[line.low, EDGE.top + inner.h + 2], [line.high, EDGE.top - 2]]) {
      if (number > 0 && line.role !== "measured") break;
      for (const [value, first, past] of runs(bound)) {
        const edge = Math.max(EDGE.top - 2, Math.min(EDGE.top + inner.h + 2, y(value)));
        clipped.append(s("rect", { class: "outside", x: x(first) - slot / 2, width: (past - first) * slot, y: Math.min(edge, beyond), height: Math.abs(beyond - edge) }));
      }
      clipped.append(s("path", { class: "bound", d: steps(bound, x, y, slot / 2) }));
    }
    if (line.role !== "estimated" && ticks.length <= WIDEST_DOTS) {
      line.from.forEach((from, i) => from !== null && line.to[i] !== null &&
        clipped.append(s("line", { class: "whisker", x1: x(i), x2: x(i), y1: y(from), y2: y(line.to[i]) })));
    }
    clipped.append(s("path", { class: kind, d: path(line.values, x, y) }));
    line.values.forEach((value, i) => {
      if (value === null) return;
      const alone = line.values[i - 1] == null && line.values[i + 1] == null;
      if (line.breached.has(i)) {
        const r = Math.min(5, Math.max(3, slot * 0.45));
        clipped.append(s("path", { class: "breach", d: `M${x(i)},${y(value) - r}l${r},${r}l${-r},${r}l${-r},${-r}Z` }));
      } else if (line.role !== "estimated" && (alone || slot >= 7)) {
        clipped.append(s("circle", { class: `dot n${number % 6}`, cx: x(i), cy: y(value), r: slot >= 7 ? 2 : 1.6 }));
      }
    });
  }

  // The parts of one tick's text, for the tooltip and for screen readers.
  function tickParts(chart, lines, shared, i) {
    const version = shared.scored_by[i];
    const out = [{ head: mlprod.longDay(shared.ticks[i]) + (version === null ? "" : `, version ${version}`) }];
    for (const line of lines) {
      const name = lines.length > 1 ? (line.role === "measured" && line.column.name ? line.column.name : line.role) : "";
      if (line.values[i] === null) {
        out.push({ name, value: line.column.told[i] ? "not measured" : "no value", note: line.column.told[i] || "" });
        continue;
      }
      const interval = line.from[i] === null ? "" : ` [${mlprod.number(line.from[i], chart.form)}, ${mlprod.number(line.to[i], chart.form)}]`;
      const bound = line.low[i] === null && line.high[i] === null ? "" : `bound ${mlprod.bounds(line.low[i], line.high[i], chart.form)}`;
      const breached = line.breached.has(i);
      out.push({
        name,
        value: mlprod.number(line.values[i], chart.form, chart.unit) + interval,
        bound,
        breached,
        note: breached ? [line.column.told[i], line.column.causes[i]].filter(Boolean).join(" – ") : "",
      });
    }
    return out;
  }

  function asNodes(parts, lines) {
    return parts.map((part, number) =>
      part.head
        ? h("div", { class: "head" }, part.head)
        : h("div", { class: part.breached ? "row breached" : "row" },
            lines.length > 1 && h("span", { class: `key n${(number - 1) % 6} ${lines[number - 1].role}` }),
            part.name && h("span", { class: "name" }, part.name),
            h("b", {}, part.value),
            part.bound && h("span", { class: "bound" }, part.breached ? `outside: ${part.bound}` : part.bound),
            part.note && h("p", {}, part.note)));
  }

  const asText = (parts) =>
    parts.map((part) => part.head || [part.name, part.value, part.bound && (part.breached ? `outside the ${part.bound}` : part.bound), part.note].filter(Boolean).join(", ")).join("; ");

  function table(chart, lines, shared) {
    const several = lines.length > 1;
    const heads = lines.flatMap((line) => [several ? line.words : chart.title, ...(line.from.some((v) => v !== null) ? ["interval"] : []), "bound", "verdict"]);
    const rows = shared.ticks.map((tick, i) => [
      tick,
      ...lines.flatMap((line) => [
        mlprod.number(line.values[i], chart.form, chart.unit),
        ...(line.from.some((v) => v !== null) ? [line.from[i] === null ? "–" : `${mlprod.number(line.from[i], chart.form)} to ${mlprod.number(line.to[i], chart.form)}`] : []),
        mlprod.bounds(line.low[i], line.high[i], chart.form),
        line.values[i] === null ? "not measured" : line.breached.has(i) ? "outside" : "within",
      ]),
    ]);
    return mlprod.table(`${chart.title}, tick by tick`, ["tick", ...heads], rows.reverse());
  }

  const bounded = (lines) => lines.some((line) => [...line.low, ...line.high].some((v) => v !== null));

  mlprod.chart = (chart, shared) => {
    const lines = chart.lines.map((line) => scaled(line, chart)).filter((line) => line.values.some((v) => v !== null));
    const last = lines[0] ? lines[0].values.findLastIndex((v) => v !== null) : -1;
    const id = `chart-${chart.id.replace(/[^a-z0-9]+/gi, "-")}`;
    const breaches = lines.reduce((sum, line) => sum + line.breached.size, 0);
    const head = h("figcaption", { id },
      h("h4", {}, chart.title),
      last >= 0 && h("span", { class: "newest" }, mlprod.number(lines[0].values[last], chart.form, chart.unit)),
      breaches > 0 && h("span", { class: "count bad" }, mlprod.count(breaches, "breach", "breaches")),
      lines.length < 2 && chart.doc.toLowerCase() !== chart.title.toLowerCase() && h("p", { title: chart.doc }, chart.doc));
    const bounds = bounded(lines) && shared.ask &&
      shared.ask("bound", "Bounds…", { what: chart.lines[0].what, title: chart.title, words: chart.lines[0].words, slices: chart.lines.map((line) => line.column.name), column: chart.lines[0].column });
    const legend = lines.length > 1 && h("ul", { class: "legend" }, lines.map((line, i) =>
      h("li", {}, h("span", { class: `key n${i % 6} ${line.role}` }), line.role === "measured" ? line.column.name || line.words : line.role)));
    const figure = h("figure", { class: "chart", "data-chart": chart.id }, head, legend);
    if (!lines.length) {
      figure.append(h("p", { class: "empty" }, "There are no measurements at these ticks."));
      return figure;
    }
    const plot = h("div", {
      class: "plot", tabindex: 0, role: "slider", "aria-labelledby": id, "aria-valuemin": 1, "aria-valuemax": shared.ticks.length,
      "aria-valuenow": last + 1, "aria-valuetext": asText(tickParts(chart, lines, shared, Math.max(0, last))),
    });
    const numbers = mlprod.tableOnDemand(`${chart.title} as a table`, () => table(chart, lines, shared));
    figure.append(plot, h("div", { class: "foot" }, numbers, bounds));
    mlprod.cursor(plot, {
      draw: () => draw(plot, chart, lines, shared),
      y: (i) => lines[0].values[i],
      tell: (i) => tickParts(chart, lines, shared, i),
      nodes: (parts) => asNodes(parts, lines),
      text: asText,
      start: Math.max(0, last),
      shared,
    });
    return figure;
  };
})();
