"use strict";
// Experiments: what was planned, what they show, and how the difference came about.
(() => {
  const { h, s } = mlprod;
  const share = (value) => mlprod.number(value, "share");
  const KINDS = { better: "good", worse: "bad", harmful: "bad", void: "bad" };
  const DESIGNS = [["fixed", "fixed: read once, at the end"], ["obrien_fleming", "O'Brien-Fleming: read each week, strict at first"], ["pocock", "Pocock: read each week, equally strict"], ["always_valid", "always valid: read at any tick; needs the most units"]];
  const ROWS = mlprod.rowsOfUnits;
  const THEN = [["nothing", "changes nothing by itself"], ["take_back", "gives all units back to the champion"], ["promote", "makes a winner champion, by the gates of any promotion"]];
  const HEIGHT = 150;
  const EDGE = { left: 52, right: 24, top: 10, bottom: 22 };
  const interval = (low, high) => `[${mlprod.number(low)}, ${mlprod.number(high)}]`;

  // A difference and its interval at each of some points, with a line at zero. marks: the points in words.
  function drawn(path, marks, text) {
    const plot = h("div", { class: "cone", role: "img", "aria-label": text });
    const draw = () => {
      const width = Math.max(240, plot.clientWidth);
      const inner = { w: width - EDGE.left - EDGE.right, h: HEIGHT - EDGE.top - EDGE.bottom };
      const [low, high] = [Math.min(0, ...path.low), Math.max(0, ...path.high)];
      const pad = (high - low || 1) * 0.06;
      const x = (i) => EDGE.left + (marks.length < 2 ? 0.5 : i / (marks.length - 1)) * inner.w;
      const y = (value) => EDGE.top + inner.h * (1 - (value - low + pad) / (high - low + 2 * pad));
      const points = (values) => values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`);
      const svg = s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" });
      for (const value of mlprod.niceTicks(low, high, 4)) {
        svg.append(s("line", { class: value === 0 ? "zero" : "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }));
        svg.append(s("text", { class: "axis", x: EDGE.left - 7, y: y(value) + 3.5, "text-anchor": "end" }, mlprod.number(value)));
      }
      const every = Math.max(1, Math.ceil(marks.length / Math.max(2, Math.floor(inner.w / 62))));
      marks.forEach((mark, i) => i % every === 0 && svg.append(s("text", { class: "axis", x: x(i), y: HEIGHT - 6, "text-anchor": "middle" }, mark)));
      svg.append(s("path", { class: "band n0", d: `M${points(path.high).join("L")}L${points(path.low).reverse().join("L")}Z` }));
      svg.append(s("path", { class: "line n0", d: `M${points(path.difference).join("L")}` }));
      path.difference.forEach((value, i) => svg.append(s("circle", { class: "dot n0", cx: x(i), cy: y(value), r: 2 })));
      plot.replaceChildren(svg);
    };
    new ResizeObserver(draw).observe(plot);
    return plot;
  }

  function told(path, unit) {
    const last = path.ticks.length - 1;
    return `${path.variant} less control: ${mlprod.number(path.difference[last], "number", unit)} ${interval(path.low[last], path.high[last])} at ${path.ticks[last]}`;
  }

  function paths(one) {
    return one.paths.filter((path) => path.ticks.length > 1).map((path) => h("figure", { class: "chart", "data-variant": path.variant },
      h("figcaption", {}, h("h4", {}, `${one.metric}: ${path.variant} less control`), h("p", {}, "with its interval at each tick at which it was read")), drawn(path, path.ticks.map(mlprod.day), told(path, one.unit)),
      mlprod.tableOnDemand(`${one.metric} of ${path.variant}, tick by tick`, () => mlprod.table("", ["tick", "difference", "interval"], path.ticks.map((tick, i) => [tick, mlprod.number(path.difference[i]), interval(path.low[i], path.high[i])]).reverse(), [1]))));
  }

  // How the difference changes with the time since a unit's first row.
  function exposure(one) {
    return one.exposure.filter((path) => path.ages.length > 1).map((path) => h("figure", { class: "chart", "data-exposure": path.variant },
      h("figcaption", {}, h("h4", {}, `${one.metric}: ${path.variant} less control, by ticks since a unit's first row`),
        path.later && h("p", {}, `without each unit's first period: ${mlprod.number(path.later[0])} ${interval(path.later[1], path.later[2])}`)),
      drawn(path, path.ages.map(String), `${path.variant} less control, by ticks since a unit's first row`), path.sentence && h("p", { class: "bad" }, path.sentence)));
  }

  function differences(one) {
    const rows = one.differences.map((row) => ({
      attributes: { "data-metric": `${row.metric}/${row.variant}` },
      cells: [
        h("b", {}, row.metric), row.variant, mlprod.number(row.control, "number", row.unit), mlprod.number(row.treated, "number", row.unit),
        h("span", { class: row.gain === null ? null : row.gain ? "good" : "bad" }, mlprod.number(row.difference), h("span", { class: "sub rows" }, interval(row.low, row.high))),
        row.lift === null ? "–" : share(row.lift), row.p === null ? "–" : [mlprod.number(row.p), row.adjusted_p !== null && h("span", { class: "sub rows" }, `adjusted ${mlprod.number(row.adjusted_p)}`)],
        row.adjusted === null ? "–" : [mlprod.number(row.adjusted[0]), h("span", { class: "sub rows" }, interval(row.adjusted[1], row.adjusted[2]))],
      ],
    }));
    if (!rows.length) return null;
    return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Differences of ${one.name}` }, mlprod.table("", ["metric", "variant", "control", "treated", "difference", "lift", "p", "less what was before"], rows, [2, 3, 4, 5, 6, 7]));
  }

  // How many of the planned units each variant has, as a bar that ends at the plan.
  function progress(one) {
    const what = (variant) => variant.held_out ? `fallback of v${variant.version}` : `v${variant.version}${variant.threshold === null ? "" : ` from ${mlprod.number(variant.threshold)}`}`;
    return h("ul", { class: "progress" }, one.variants.map((variant, i) => h("li", { "data-units": variant.units },
      h("span", { class: `key n${i % 6}` }), h("b", {}, variant.name), ` ${what(variant)}, ${share(variant.share)} of the units: ${mlprod.count(variant.units, "unit")}${variant.rows > variant.units ? ` with ${mlprod.count(variant.rows, "row")}` : ""}`,
      variant.waiting > 0 && h("span", { class: "sub" }, `, ${mlprod.count(variant.waiting, "row")} without an outcome yet`),
      s("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "rest", x: 0, y: 0, width: 100, height: 4 }), s("rect", { class: `n${i % 6}`, x: 0, y: 0, width: Math.min(100, (100 * variant.units) / one.units), height: 4 })))),
      h("li", { class: "sub" }, `Planned: ${mlprod.count(one.units, "unit")} in the smallest variant, to see a difference of ${mlprod.number(one.difference, "number", one.unit)} in ${one.metric}.`),
      one.sample_ratio !== null && h("li", { class: one.sample_ratio < 0.001 ? "bad" : "sub" }, `Sample ratio: chance gives sizes so far from the planned shares with p = ${mlprod.number(one.sample_ratio)}.`));
  }

  function run(one, ask) {
    const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    const ended = one.ended && fact("Ended", `before ${one.ended} by ${one.ended_by}${one.end_reason ? `: ${one.end_reason}` : ""}`);
    const end = one.may_end && ask("end_experiment", "End it…", { experiment: one.name, title: one.name });
    return h("article", { class: "experiment", "data-experiment": one.name },
      h("h3", {}, one.name, " ", h("span", { class: `chip ${KINDS[one.verdict] || "quiet"}` }, one.verdict)),
      h("p", { class: "words" }, mlprod.prose(one.sentence)),
      h("dl", { class: "facts" }, [
        fact(one.rows === "requests" ? "Requests of" : "Rows of", `${one.starts} to ${one.ends}`), one.last && fact("Read", `${one.first} to ${one.last}`), fact("Design", one.design.replace("_", "-")),
        fact("Significance, power", `${share(one.alpha)}, ${share(one.power)}`), fact("By", one.by), (one.fresh || one.traffic < 1) && fact("Units", [one.traffic < 1 && `${share(one.traffic)} of all`, one.fresh && "first seen after the start"].filter(Boolean).join(", ")), one.beside.length > 0 && fact("On the same units", one.beside.join(", ")), one.then !== "nothing" && fact("A verdict", THEN.find(([value]) => value === one.then)[1]), one.conclusion && fact("Afterwards", mlprod.prose(one.conclusion)), one.reason && fact("Why", one.reason), ended].filter(Boolean)),
      progress(one), differences(one), one.untold.map((why) => h("p", { class: "sub" }, mlprod.prose(why))), h("div", { class: "charts" }, paths(one), exposure(one)), end && h("div", { class: "buttons" }, end));
  }

  // The fields of a plan.
  mlprod.experimentFields = ({ metrics }) => [
    mlprod.nameOfUnits(),
    h("label", {}, "Variants, beside the champion ", h("input", { name: "variants", required: true, maxlength: 300, placeholder: "3, champion@0.4, fallback=10%" })),
    h("label", {}, "Metric that decides ", h("select", { name: "metric" }, metrics.map(([name, doc]) => h("option", { value: name }, `${name}: ${doc}`)))),
    h("div", { class: "pair" },
      h("label", {}, "Smallest difference that matters ", h("input", { name: "difference", type: "number", step: "any", min: 0, required: true })),
      h("label", {}, "Weeks (empty: as few as can be) ", h("input", { name: "periods", type: "number", min: 1, max: 26 }))),
    h("div", { class: "pair" },
      h("label", {}, "Probability of a false alarm, in % ", h("input", { name: "alpha", type: "number", step: "any", min: 0, max: 100, placeholder: "5" })),
      h("label", {}, "Probability of finding that difference, in % ", h("input", { name: "power", type: "number", step: "any", min: 0, max: 100, placeholder: "80" }))),
    h("div", { class: "pair" },
      h("label", {}, "Design ", h("select", { name: "design" }, DESIGNS.map(([value, text]) => h("option", { value }, text)))),
      h("label", {}, "Rows ", h("select", { name: "rows" }, ROWS.map(([value, text]) => h("option", { value }, text))))),
    h("label", {}, "Share of the units that take part, in % ", h("input", { name: "traffic", type: "number", step: "any", min: 0, max: 100, placeholder: "100; less lets others run at once" })),
    h("label", {}, "A verdict ", h("select", { name: "then" }, THEN.map(([value, text]) => h("option", { value }, text)))),
    h("label", {}, h("input", { name: "fresh", type: "checkbox" }), " Count only units first seen after the start"),
  ];

  mlprod.experiments = (detail, ask) => {
    const { metrics, runs, bandits, bandit } = detail.experiments;
    const start = metrics.length > 0 && ask("experiment", "Start an experiment…", { metrics });
    const choose = bandit && ask("bandit", "Start a bandit…", { bandit });
    return [
      runs.length + bandits.length === 0 && h("p", { class: "empty" }, "There has been no experiment yet."),
      runs.map((one) => run(one, ask)),
      mlprod.bandits(bandits, ask),
      (start || choose) && h("div", { class: "buttons" }, [start, choose].filter(Boolean)),
    ];
  };
})();
