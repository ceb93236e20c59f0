"use strict";
// Chooses the page to show, and reads its data from the server or from the report file itself.
(() => {
  const { h } = mlprod;
  const main = document.getElementById("board");
  const api = document.body.dataset.api;
  const EVERY = 60000;
  let shown = "", turns = 0;

  async function ask(path, options) {
    let answer;
    try {
      answer = await fetch(`${api}${path}`, { credentials: "same-origin", ...options, headers: { Accept: "application/json", "X-Requested-With": "mlprod", ...(options || {}).headers } });
    } catch {
      throw new Error("The server does not answer.");
    }
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.error || (typeof body.detail === "string" && body.detail) || `The server answered with status ${answer.status}.`);
    return body;
  }

  // #/pipelines/NAME?first=&last=&heat=
  function where() {
    const [path, query] = location.hash.replace(/^#/, "").split("?");
    const match = /^\/pipelines\/([^/]+)$/.exec(path || "");
    return { name: match ? decodeURIComponent(match[1]) : null, query: new URLSearchParams(query || "") };
  }

  function go(changes) {
    const { name, query } = where();
    for (const [key, value] of Object.entries(changes)) value ? query.set(key, value) : query.delete(key);
    location.hash = `#/pipelines/${encodeURIComponent(name)}?${query}`;
  }

  function draw(nodes) {
    main.replaceChildren(...nodes);
    main.removeAttribute("aria-busy");
  }

  async function overview() {
    const data = await ask("/overview");
    return { same: JSON.stringify({ ...data, at: "" }), nodes: () => mlprod.overview(data) };
  }

  async function pipeline(name, query) {
    const at = `/pipelines/${encodeURIComponent(name)}`;
    const detail = await ask(`${at}?${query}`);
    const post = async (action, body) => (await ask(`${at}/${action}`, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } })).done;
    const acts = {
      home: true,
      zoom: (first, last) => go({ first, last }),
      choose: (heat) => go({ heat }),
      ask: mlprod.asker(detail, post, () => show(true)),
      explain: (key, tick) => ask(`${at}/predictions?${new URLSearchParams([...key.map((value) => ["key", value]), ...(tick ? [["tick", tick]] : [])])}`),
    };
    return { same: JSON.stringify({ ...detail, at: "" }), nodes: () => mlprod.detail(detail, acts) };
  }

  async function show(keep) {
    const { name, query } = where();
    const turn = ++turns;
    main.setAttribute("aria-busy", "true");
    try {
      const page = await (name ? pipeline(name, query) : overview());
      if (turn !== turns || (keep === "if new" && page.same === shown)) return main.removeAttribute("aria-busy");
      const [scroll, focused] = [scrollY, document.activeElement && document.activeElement.id];
      shown = page.same;
      draw(page.nodes());
      if (keep) {
        scrollTo(0, scroll);
        if (focused && document.getElementById(focused)) document.getElementById(focused).focus({ preventScroll: true });
      } else {
        scrollTo(0, 0);
        if (show.before !== undefined) main.querySelector("h1").focus({ preventScroll: true });
      }
      show.before = name;
    } catch (error) {
      if (turn !== turns) return;
      if (keep === "if new") return mlprod.announce(error.message, true);
      shown = "";
      draw([h("header", { class: "page" }, h("h1", { tabindex: -1 }, "mlprod")), h("p", { class: "bad", role: "alert" }, error.message), h("p", {}, h("a", { href: "#/" }, "All pipelines"))]);
    }
  }

  // The link's address would replace the hash, which says which page is shown.
  document.querySelector(".skip").addEventListener("click", (event) => (event.preventDefault(), main.focus()));

  const inside = document.getElementById("board-data");
  if (inside) {
    draw(mlprod.detail(JSON.parse(inside.textContent), {}));
    return;
  }
  // The same pipeline over other ticks keeps the reader's scroll position.
  addEventListener("hashchange", () => show(where().name !== null && where().name === show.before));
  setInterval(() => document.visibilityState === "visible" && !where().name && show("if new"), EVERY);
  show();
})();
