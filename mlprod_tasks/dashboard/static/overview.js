"use strict";
// All pipelines with their state and its reason; those that need attention come first.
(() => {
  const { h, s } = mlprod;
  const LIGHTS = { red: "needs attention", amber: "worth a look", green: "fine", grey: "no data yet" };

  mlprod.light = (state) =>
    h("span", { class: `light ${state.light}` }, h("span", { class: "lamp", "aria-hidden": "true" }), LIGHTS[state.light]);

  mlprod.spark = (kpi) => {
    const known = kpi.values.map((v, i) => [i, v]).filter(([, v]) => v !== null);
    if (known.length < 2) return null;
    const [width, height, pad] = [132, 30, 3];
    const all = known.map(([, v]) => v).concat(kpi.bound === null ? [] : [kpi.bound]);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const x = (i) => pad + (i / Math.max(1, kpi.values.length - 1)) * (width - 2 * pad);
    const y = (v) => height - pad - ((v - low) / (high - low || 1)) * (height - 2 * pad);
    const [lastI, last] = known[known.length - 1];
    const label = `${kpi.name} over ${mlprod.count(known.length, "tick")}: from ${mlprod.number(known[0][1])} to ${mlprod.number(last)}` +
      ` ${kpi.unit}, lowest ${mlprod.number(Math.min(...known.map(([, v]) => v)))}`;
    return s("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
      kpi.bound !== null && s("line", { class: "bound", x1: 0, x2: width, y1: y(kpi.bound), y2: y(kpi.bound) }),
      s("path", { class: "line", d: known.map(([i, v], n) => `${n ? "L" : "M"}${x(i).toFixed(1)},${y(v).toFixed(1)}`).join("") }),
      s("circle", { class: kpi.bound !== null && last < kpi.bound ? "dot bad" : "dot", cx: x(lastI), cy: y(last), r: 2.6 }));
  };

  function alarms(card) {
    const parts = [
      card.open_alarms && h("b", { class: "bad" }, `${card.open_alarms} open`),
      card.acknowledged && h("span", {}, `${card.acknowledged} acknowledged`),
      card.muted && h("span", {}, `${card.muted} muted`),
    ].filter(Boolean);
    return parts.length ? parts.flatMap((part, i) => (i ? [", ", part] : [part])) : h("span", { class: "muted" }, "none");
  }

  mlprod.ageOf = (champion) => mlprod.count(champion.age_days, "day");

  function row(card) {
    const { champion, last, kpi } = card;
    const newest = kpi && kpi.values.findLast((v) => v !== null);
    const reasons = card.state.reasons;
    return h("tr", { class: `card ${card.state.light}`, "data-pipeline": card.name },
      h("th", { scope: "row", class: "who" }, mlprod.light(card.state),
        h("a", { href: `#/pipelines/${encodeURIComponent(card.name)}` }, card.name), h("span", { class: "doc" }, card.doc)),
      h("td", { class: "why", "data-label": "Why" }, h("p", {}, mlprod.prose(reasons[0])),
        reasons.length > 1 && h("details", {}, h("summary", {}, `and ${reasons.length - 1} more`), h("ul", {}, reasons.slice(1).map((one) => h("li", {}, mlprod.prose(one)))))),
      h("td", { class: "alarms", "data-label": "Alarms" }, alarms(card), card.open_reviews > 0 && h("span", { class: "sub reviews" }, `${mlprod.count(card.open_reviews, "row waits", "rows wait")} for review`)),
      h("td", { "data-label": "Champion" }, champion ? [h("b", {}, `v${champion.version}`), h("span", { class: "sub" }, mlprod.ageOf(champion))] : h("span", { class: "muted" }, "none"),
        card.training && card.training !== "promoted" && h("span", { class: "sub" }, `training: ${card.training}`), card.rollout && h("span", { class: "sub rolledout" }, mlprod.rolledOut(card.rollout))),
      h("td", { "data-label": "Last tick" }, last ? [h("b", {}, last.tick), h("span", { class: "sub" }, mlprod.count(last.rows, "row"))] : h("span", { class: "muted" }, "none")),
      h("td", { class: "kpi", "data-label": "KPI" }, kpi ? [mlprod.spark(kpi), h("b", {}, mlprod.number(newest ?? null, "number", kpi.unit)), h("span", { class: "sub", title: kpi.name }, kpi.name)] : h("span", { class: "muted" }, "–")));
  }

  mlprod.overview = (data) => {
    const count = (light) => data.pipelines.filter((card) => card.state.light === light).length;
    const [red, amber] = [count("red"), count("amber")];
    const all = mlprod.count(data.pipelines.length, "pipeline");
    const summary = red
      ? `${red} of ${all} ${red === 1 ? "needs" : "need"} attention${amber ? `; ${amber} more ${amber === 1 ? "is" : "are"} worth a look` : ""}.`
      : amber ? `None of ${all} needs attention; ${amber} ${amber === 1 ? "is" : "are"} worth a look.` : `None of ${all} needs attention.`;
    document.title = red ? `(${red}) mlprod` : "mlprod";
    return [
      h("header", { class: "page" }, h("h1", { tabindex: -1 }, "Pipelines"), h("p", { class: red ? "lead bad" : "lead" }, summary), h("p", { class: "asof" }, `as of ${mlprod.moment(data.at)}`)),
      data.broken.length > 0 && h("section", { class: "panel broken", "aria-labelledby": "broken" }, h("h2", { id: "broken" }, "Declarations that could not be loaded"),
        h("ul", {}, data.broken.map(([file, why]) => h("li", {}, h("b", {}, file), ": ", why)))),
      data.pipelines.length
        ? h("table", { class: "overview" },
            h("caption", { class: "sronly" }, "Every pipeline: state, why, alarms, champion, last tick, KPI"),
            h("thead", {}, h("tr", {}, ["Pipeline", "Why", "Alarms", "Champion", "Last tick", "KPI, last 30 ticks"].map((text) => h("th", { scope: "col" }, text)))),
            h("tbody", {}, data.pipelines.map(row)))
        : h("p", { class: "empty" }, "No pipeline is declared."),
    ].filter(Boolean);
  };
})();
