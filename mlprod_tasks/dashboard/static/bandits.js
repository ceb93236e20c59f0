"use strict";
// Bandits: what their arms earned, and how units were shared among them over time.
(() => {
  const { h, s } = mlprod;
  const share = (value) => mlprod.number(value, "share");
  const HEIGHT = 150;
  const EDGE = { left: 44, right: 12, top: 8, bottom: 22 };

  // The arms' shares as bands on each other; each version's hold until the next one.
  function drawn(one) {
    const text = one.arms.map((arm) => `${arm.name} ${share(arm.shares[arm.shares.length - 1])}`).join(", ");
    const plot = h("div", { class: "cone bands", role: "img", "aria-label": `Shares at ${one.ticks[one.ticks.length - 1]}: ${text}` });
    const draw = () => {
      const width = Math.max(240, plot.clientWidth);
      const inner = { w: width - EDGE.left - EDGE.right, h: HEIGHT - EDGE.top - EDGE.bottom };
      const n = one.ticks.length;
      const x = (i) => EDGE.left + (i / n) * inner.w;
      const y = (value) => EDGE.top + inner.h * (1 - value);
      const svg = s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" });
      const below = one.ticks.map(() => 0);
      one.arms.forEach((arm, k) => {
        one.ticks.forEach((_, i) => {
          svg.append(s("rect", { class: `n${k % 6}`, x: x(i), y: y(below[i] + arm.shares[i]), width: inner.w / n + 0.4, height: Math.max(0, inner.h * arm.shares[i]) }));
          below[i] += arm.shares[i];
        });
      });
      for (const value of [0, 0.5, 1]) {
        svg.append(s("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }));
        svg.append(s("text", { class: "axis", x: EDGE.left - 7, y: y(value) + 3.5, "text-anchor": "end" }, share(value)));
      }
      const every = Math.max(1, Math.ceil(n / Math.max(2, Math.floor(inner.w / 62))));
      one.ticks.forEach((tick, i) => i % every === 0 && svg.append(s("text", { class: "axis", x: x(i + 0.5), y: HEIGHT - 6, "text-anchor": "middle" }, mlprod.day(tick))));
      plot.replaceChildren(svg);
    };
    new ResizeObserver(draw).observe(plot);
    return plot;
  }

  function shares(one) {
    if (one.ticks.length < 2) return null;
    return h("figure", { class: "chart", "data-shares": one.name },
      h("figcaption", {}, h("h4", {}, "Shares of the arms"), h("p", {}, "from each tick on at which more rewards were known")), drawn(one),
      mlprod.tableOnDemand(`shares of ${one.name}, tick by tick`, () => mlprod.table("", ["tick", ...one.arms.map((arm) => arm.name)], one.ticks.map((tick, i) => [tick, ...one.arms.map((arm) => share(arm.shares[i]))]).reverse(), one.arms.map((_, k) => k + 1))));
  }

  function arms(one) {
    const rows = one.arms.map((arm, k) => ({
      attributes: { "data-arm": arm.name },
      cells: [[h("span", { class: `key n${k % 6}` }), h("b", {}, arm.name)], mlprod.count(arm.rewards, "reward"), arm.mean === null ? "–" : mlprod.number(arm.mean, "number", one.unit), arm.best === null ? "–" : share(arm.best), arm.share === null ? "–" : share(arm.share)],
    }));
    return h("div", { class: "scroll progress", tabindex: 0, role: "region", "aria-label": `Arms of ${one.name}` }, mlprod.table("", ["arm", "known", one.metric, "the best with probability", "share from now on"], rows, [1, 2, 3, 4]));
  }

  function run(one, ask) {
    const end = one.may_end && ask("end_bandit", "End it…", { experiment: one.name, title: one.name });
    const freeze = one.may_end && (one.frozen ? ask("thaw_bandit", "Thaw it…", { experiment: one.name, title: one.name }) : ask("freeze_bandit", "Freeze it…", { experiment: one.name, title: one.name }));
    const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    const ended = one.ended && fact("Ended", `before ${one.ended} by ${one.ended_by}${one.end_reason ? `: ${one.end_reason}` : ""}`);
    return h("article", { class: "experiment", "data-bandit": one.name },
      h("h3", {}, one.name, " ", h("span", { class: "chip quiet" }, one.ended ? "ended" : one.frozen ? "frozen" : "bandit")),
      h("dl", { class: "facts" }, [
        fact(one.rows === "requests" ? "Learns from requests" : "Learns from rows", one.ends ? `${one.starts} to ${one.ends}` : `from ${one.starts}`), fact("Policy", one.policy), one.last && fact("Rewards", `up to ${one.last}, version ${one.version}`),
        fact("By", one.by), one.reason && fact("Why", one.reason), ended].filter(Boolean)),
      one.frozen && h("p", { class: "words" }, mlprod.prose(one.frozen)), one.untold && h("p", { class: "words bad" }, mlprod.prose(one.untold)), arms(one), one.cost && h("p", { class: "sub", "data-cost": one.name }, `By what the arms may be worth now: ${one.cost}.`), h("div", { class: "charts" }, [shares(one)].filter(Boolean)), (end || freeze) && h("div", { class: "buttons" }, [freeze, end].filter(Boolean)));
  }

  // What experiments and bandits ask for alike.
  mlprod.rowsOfUnits = [["batch", "scored by ticks"], ["requests", "answered on request"]];
  mlprod.nameOfUnits = () => h("label", {}, "Name ", h("input", { name: "experiment", required: true, maxlength: 63, pattern: "[a-z][a-z0-9_]*", title: "lower-case letters, digits and _" }));

  // The fields of a start: arms only if the declaration does not name actions.
  mlprod.banditFields = ({ bandit }) => [
    h("p", { class: "sub" }, `${bandit.policy} on ${bandit.metric}${bandit.actions.length ? `, among ${bandit.actions.join(", ")}` : ""}, as declared.`),
    mlprod.nameOfUnits(),
    !bandit.actions.length && h("label", {}, "Arms, beside the champion ", h("input", { name: "variants", required: true, maxlength: 300, placeholder: "3, champion@0.4, fallback" })),
    h("label", {}, "It learns from rows ", h("select", { name: "rows" }, mlprod.rowsOfUnits.map(([value, text]) => h("option", { value }, text)))),
  ].filter(Boolean);

  mlprod.bandits = (runs, ask) => runs.map((one) => run(one, ask));
})();
