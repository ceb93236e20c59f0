"use strict";
// Rows that people decide: waiting rows, the oldest first, and the newest decisions.
(() => {
  const { h } = mlprod;
  const FIRST = 10;
  const score = (value) => (value === null ? "–" : value.toFixed(4));
  const version = (number) => (number === null ? "–" : `v${number}`);
  const region = (label, ...children) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, children);

  function waiting(one, ask, classes) {
    const of = one.version === null ? "the fallback" : `version ${one.version}`;
    const attributes = { "data-review": `${one.request_id}/${one.row}` };
    if (one.prediction !== null) {
      const given = { request_id: one.request_id, row: one.row, classes, prediction: one.prediction, title: one.key, dialog: ["Decide", `${of[0].toUpperCase()}${of.slice(1)} says ${one.prediction}, with probability ${score(one.score)}. Your decision is recorded with your name and is final.`] };
      const button = ask("review", "Decide…", given);
      return { attributes, cells: [one.key, `${one.prediction} (${score(one.score)})`, version(one.version), mlprod.moment(one.at), ...(button ? [button] : [])] };
    }
    const decide = (decision, word) => ask("review", `${word}…`, { request_id: one.request_id, row: one.row, decision, title: one.key, dialog: [`Decide ${word.toLowerCase()}`, `Scored ${score(one.score)} by ${of}. Your decision is recorded with your name and is final.`] });
    const buttons = [decide(true, "Yes"), decide(false, "No")].filter(Boolean);
    return { attributes, cells: [one.key, score(one.score), version(one.version), mlprod.moment(one.at), ...(buttons.length ? [h("div", { class: "pair" }, buttons)] : [])] };
  }

  function decided(one) {
    const scored = one.prediction === null ? score(one.score) : `${one.prediction} (${score(one.score)})`;
    return [one.key, scored, version(one.version), h("span", { class: "chip" }, one.decided_class || (one.decision ? "yes" : "no")), one.by, mlprod.moment(one.decided_at), one.reason || "–"];
  }

  mlprod.reviews = (detail, ask) => {
    const { reviews, decided: done, open_reviews: open, classes } = detail.served;
    const heads = ["key", "score", "version", "since", ...(detail.may.includes("review") ? ["decide"] : [])];
    const place = region("Rows that wait for a decision");
    const show = (some) => place.replaceChildren(mlprod.table("", heads, some.map((one) => waiting(one, ask, classes)), [1]));
    show(reviews.slice(0, FIRST));
    const more = reviews.length > FIRST && h("button", { type: "button", class: "quiet", onclick: (event) => (show(reviews), event.target.remove()) }, reviews.length < open ? `Show the oldest ${reviews.length}` : `Show all ${reviews.length}`);
    return [
      open ? h("p", { class: "lead" }, open === 1 ? "1 row waits for a decision." : `${open.toLocaleString("en-US")} rows wait for a decision, the oldest first.`) : h("p", { class: "empty" }, "No row waits for a decision."),
      open > 0 && place, more,
      done.length > 0 && h("details", {}, h("summary", {}, mlprod.count(done.length, "recent decision", "recent decisions")), region("Recent decisions", mlprod.table("", ["key", "score", "version", "decision", "by", "when", "why"], done.map(decided), [1]))),
    ];
  };
})();
