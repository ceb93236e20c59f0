"use strict";
// The version that answers requests, what the service decides itself, and the results of the challenger's checks.
(() => {
  const { h, s } = mlprod;
  const share = (value) => mlprod.number(value, "share");
  const version = (number) => (number === null ? "–" : `v${number}`);
  const VERDICTS = new Map([[true, ["passed", "good"]], [false, ["failed", "bad"]], [null, ["no verdict", "quiet"]]]);
  // For each check: the format of its values, and its bound for their difference or ratio.
  const WHATS = {
    errors: ["share", (bound) => `+${share(bound)}`],
    latency: ["number", (bound) => `× ${mlprod.number(bound)}`],
    scores: ["number", (bound) => `± ${mlprod.number(bound)}`],
    quality: ["number", (bound) => `+${mlprod.number(bound)}`],
    rows: ["number", (bound) => `≥ ${mlprod.number(bound)}`],
  };
  const AUTOMATION = { full: "the service decides", band: "people decide uncertain scores", assist: "people decide everything", shadow: "no decision is given" };

  const band = (one) => (one.band ? ` (${mlprod.number(one.band[0])} to ${mlprod.number(one.band[1])})` : "");

  // The rollout in a few words, for the overview.
  mlprod.rolledOut = (one) => `${one.mode}: ${version(one.challenger)}${one.mode === "canary" ? `, ${share(one.share)}` : ""}`;

  function whoAnswers(now, champion) {
    const known = champion ? `Version ${champion.version}` : "The fallback";
    if (!now || now.mode === "champion") return `${known} answers every request.`;
    const other = `Version ${now.challenger}`;
    return {
      "blue-green": `${other} answers every request; the champion stays loaded, so that you can switch back.`,
      shadow: `${known} answers every request. ${other} also scores them, but its scores are not used.`,
      canary: `${other} answers ${share(now.share)} of the entities, always the same ones; the champion answers the others.`,
    }[now.mode] || now.mode;
  }

  // The shares that champion and challenger answer, as a bar.
  function bar(now, champion) {
    if (!now || now.challenger === null) return null;
    const part = now.mode === "blue-green" ? 1 : now.mode === "canary" ? now.share : 0;
    const key = (name, n, value, more) => h("li", {}, h("span", { class: `key n${n}` }), `${name} `, h("b", {}, share(value)), more);
    return h("div", { class: "shares" },
      s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "n0", x: 0, y: 0, width: 100 * (1 - part), height: 10 }), s("rect", { class: "n1", x: 100 * (1 - part), y: 0, width: 100 * part, height: 10 })),
      h("ul", { class: "legend" }, key(champion ? `champion v${champion.version}` : "champion", 0, 1 - part), key(`challenger v${now.challenger}`, 1, part, now.mode === "shadow" && ", scores every request")));
  }

  function checks(ramp) {
    const rows = ramp.rows.map((one) => {
      const [form, bounded] = WHATS[one.what] || ["number", mlprod.number];
      const cell = (value, rows) => [mlprod.number(value, form), h("span", { class: "sub rows" }, mlprod.count(rows, "row"))];
      const [verdict, kind] = VERDICTS.get(one.passed);
      return { attributes: { class: one.passed === false ? "failed" : null, "data-check": `${one.share}/${one.what}` }, cells: [share(one.share), one.name, cell(one.champion_value, one.champion_rows), cell(one.challenger_value, one.challenger_rows), one.bound === null ? "–" : bounded(one.bound), h("span", { class: `chip ${kind}`, title: mlprod.moment(one.at) }, verdict), h("span", { class: "words" }, one.sentence)] };
    });
    return [
      h("h3", {}, `The last ramp: v${ramp.challenger}, share by share`),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Checks of version ${ramp.challenger}` }, mlprod.table("", ["share", "what", "champion", "challenger", "bound", "verdict", "in words"], rows, [2, 3, 4])),
    ];
  }

  function history(rollouts) {
    const rows = rollouts.map((one) => [mlprod.moment(one.at), one.mode, version(one.challenger), one.mode === "canary" ? share(one.share) : "–", `${one.automation}${band(one)}`, one.by, h("span", { class: "words" }, one.reason || "–")]);
    return h("details", {}, h("summary", {}, mlprod.count(rollouts.length, "rollout")), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Rollouts, the newest first" }, mlprod.table("", ["since", "mode", "challenger", "share", "automation", "by", "why"], rows, [3])));
  }

  mlprod.rollout = (detail, ask) => {
    const { champion, served } = detail;
    const now = served.rollout;
    const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    const facts = now
      ? [fact("Mode", h("b", {}, now.mode)), fact("Automation", `${AUTOMATION[now.automation] || now.automation}${band(now)}`), fact("By", now.by), fact("Since", mlprod.moment(now.at)), now.reason && fact("Why", now.reason)]
      : [fact("Mode", h("b", {}, "champion")), fact("Automation", "the service decides")];
    if (!served.automations.length) facts.splice(1, 1);
    const versions = [...new Set(detail.trainings.filter((one) => one.version !== null && !one.champion).map((one) => one.version))].sort((a, b) => b - a);
    const shares = served.ramp.map(share).join(", ");
    const buttons = [
      ask("rollout", "Change…", { now, versions, ramp: served.ramp, automations: served.automations, classes: served.classes.length > 0 }),
      now && now.mode !== "champion" && ask("rollout", "Switch back…", { now, back: true, dialog: ["Switch back", "The champion answers every request again, within seconds. A running ramp ends."] }),
      versions.length > 0 && (!now || now.mode === "champion") && ask("ramp", "Start a ramp…", { versions, dialog: ["Start a ramp", `The challenger answers ${shares} of the entities, one share after the other. Checks at each share must pass before the next; at the end the challenger becomes champion.`] }),
    ].filter(Boolean);
    return [
      h("p", { class: "lead" }, whoAnswers(now, champion)), bar(now, champion), h("dl", { class: "facts" }, facts.filter(Boolean)),
      buttons.length > 0 && h("div", { class: "buttons" }, buttons),
      served.checks && checks(served.checks),
      served.rollouts.length > 0 && history(served.rollouts),
    ];
  };
})();
