"use strict";
// One pipeline: its state, then its data over a range of ticks.
(() => {
  const { h } = mlprod;

  function section(id, title, ...children) {
    return h("section", { class: "panel", id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), children);
  }

  function facts(detail) {
    const { champion, last_tick: last } = detail;
    const fact = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, h("b", {}, value), more && h("span", { class: "sub" }, more)));
    const shown = [
      champion ? fact("Champion", `v${champion.version}`, `since ${champion.since}, ${mlprod.ageOf(champion)}`) : fact("Champion", "none"),
      champion && champion.trained_as_of && fact("Trained as of", champion.trained_as_of),
      last ? fact("Last tick", last.tick, mlprod.count(last.rows, "row")) : fact("Last tick", "none"),
      last && fact("Decided", last.action || "not yet"),
      last && last.behind > 0 && fact("Behind", mlprod.count(last.behind, "tick")),
      champion && champion.caveat && fact("Test", "not later than the training", champion.caveat),
      champion && champion.fallback_by && fact("Answering", "the fallback", `switched on by ${champion.fallback_by}`),
      fact("Owner", detail.owner),
    ];
    return h("dl", { class: "facts" }, shown.filter(Boolean));
  }

  function reasons(detail) {
    const { state } = detail;
    return h("div", { class: `state ${state.light}` }, mlprod.light(state),
      state.reasons.length === 1 ? h("p", {}, mlprod.prose(state.reasons[0])) : h("ul", {}, state.reasons.map((one) => h("li", {}, mlprod.prose(one)))));
  }

  // The ticks to show: the newest N, or from and to; dragging across a chart also selects them.
  function range(detail, zoom) {
    const { ticks } = detail;
    if (!ticks.length) return null;
    const [from, to] = [ticks[0], ticks[ticks.length - 1]];
    const type = mlprod.isWithinDay(to) ? "text" : "date";
    const [total] = detail.newest[detail.newest.length - 1];
    const pressed = (n) => to === detail.last && ticks.length === Math.min(n, total);
    const first = h("input", { type, id: "range-from", value: from, min: detail.first, max: detail.last });
    const last = h("input", { type, id: "range-to", value: to, min: detail.first, max: detail.last });
    return h("form", { class: "range", "aria-label": "Ticks shown", onsubmit: (event) => (event.preventDefault(), zoom(first.value, last.value)) },
      h("div", { class: "presets", role: "group", "aria-label": "The newest ticks" }, detail.newest.map(([n, back]) =>
        h("button", { type: "button", "aria-pressed": String(pressed(n)), onclick: () => zoom(back, detail.last) }, n === total ? `All ${total}` : `${n}`))),
      h("label", { for: "range-from" }, "from"), first, h("label", { for: "range-to" }, "to"), last, h("button", { type: "submit", class: "quiet" }, "Show"),
      h("span", { class: "sub hint" }, "or drag across a chart"));
  }

  function heat(detail, shared, choose) {
    if (!detail.heat.length) return [h("p", { class: "empty" }, "There are no measurements of features at these ticks.")];
    const place = h("div", {}, mlprod.heat(detail.heat[0], shared));
    const loaded = new Map(detail.heat.map((map) => [map.what, map]));
    const offered = choose ? detail.heat_kinds : detail.heat.map((map) => [map.what, map.title]);
    const select = h("select", {
      id: "heat-kind", onchange: () => {
        const map = loaded.get(select.value);
        if (map) place.replaceChildren(mlprod.heat(map, shared));
        else choose(select.value);
      },
    }, offered.map(([what, title]) => h("option", { value: what, selected: what === detail.heat[0].what }, title)));
    const map = detail.heat[0];
    const bounded = map.rows.find((row) => row.column.high.some((v) => v !== null));
    const bounds = bounded && shared.ask("bound", "Bounds…", { what: map.what, title: map.title, words: map.words.replaceAll("{slice}", "…"), slices: map.rows.map((row) => row.feature), column: bounded.column });
    return [h("div", { class: "control" }, offered.length > 1 && [h("label", { for: "heat-kind" }, "Show"), select], bounds), place];
  }

  function charts(detail, shared) {
    const groups = new Map();
    for (const chart of detail.charts) groups.set(chart.group, [...(groups.get(chart.group) || []), chart]);
    if (!groups.size) return [h("p", { class: "empty" }, "There are no measurements at these ticks.")];
    return [...groups].map(([group, some]) => h("div", { class: "group" }, h("h3", {}, group), h("div", { class: "charts" }, some.map((chart) => mlprod.chart(chart, shared)))));
  }

  function links(detail) {
    const all = detail.links.map((one) => mlprod.link(one.text, one.href));
    return all.length ? h("nav", { class: "links", "aria-label": "Related pages" }, all) : null;
  }

  // `acts`: zoom, choose (another heat map), ask (makes the button of an action), explain; empty in a report.
  mlprod.detail = (detail, acts) => {
    const shared = mlprod.shared(detail, acts.zoom || (() => {}));
    const ask = (shared.ask = acts.ask || (() => null));
    const buttons = [ask("retrain", "Retrain…", {}), ask("rollback", "Roll back…", {}), detail.champion && detail.champion.fallback_by ? ask("champion", "Let the champion answer again…", {}) : ask("fallback", "Switch to the fallback…", {})].filter(Boolean);
    const parts = [["alarms", "Alarms"], detail.served && ["rollout", "Rollout"], detail.served && ["reviews", "Review queue"], detail.experiments && ["experiments", "Experiments"], detail.adaptation && ["adaptation", "Adaptation"], ["drift", "Drift"], ["charts", "Over time"], ["decisions", "Decisions"], ["models", "Models"], acts.explain && ["prediction", "One prediction"], ["doings", "Interventions"]].filter(Boolean);
    document.title = `${detail.name} – mlprod`;
    return [
      h("header", { class: "page" },
        acts.home && h("p", { class: "crumb" }, h("a", { href: "#/" }, "All pipelines")),
        h("h1", { tabindex: -1 }, acts.home ? detail.name : `${detail.name} at ${detail.last}`), h("p", { class: "doc" }, detail.doc), reasons(detail), facts(detail),
        buttons.length > 0 && h("div", { class: "buttons" }, buttons), links(detail)),
      h("nav", { class: "parts", "aria-label": "On this page" }, parts.map(([id, title]) => h("button", {
        type: "button", onclick: () => {
          const heading = document.getElementById(`${id}-title`);
          heading.tabIndex = -1;
          heading.scrollIntoView();
          heading.focus({ preventScroll: true });
        },
      }, title))),
      section("alarms", "Alarms", mlprod.alarms(detail, ask)),
      detail.served && section("rollout", "Rollout", mlprod.rollout(detail, ask)),
      detail.served && section("reviews", "Review queue", mlprod.reviews(detail, ask)),
      detail.experiments && section("experiments", "Experiments", mlprod.experiments(detail, ask)),
      acts.zoom ? range(detail, acts.zoom) : detail.ticks.length ? h("p", { class: "range sub" }, `Ticks ${detail.ticks[0]} to ${detail.ticks[detail.ticks.length - 1]}`) : null,
      detail.adaptation && section("adaptation", "Scores kept right between trainings", mlprod.adaptation(detail.adaptation, shared)),
      section("drift", "Drift, feature by feature", heat(detail, shared, acts.choose)),
      section("charts", "Over time", charts(detail, shared)),
      section("decisions", "Decisions, and why", mlprod.decisions(detail)),
      section("models", "Models and their gates", mlprod.trainings(detail)),
      acts.explain && section("prediction", "One prediction", mlprod.prediction(detail, acts.explain)),
      section("doings", "What people and rules did", mlprod.doings(detail)),
    ].filter(Boolean);
  };
})();
