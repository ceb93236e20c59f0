"use strict";
// Creates elements without ever reading text as markup: every string becomes a text node or an attribute.
const mlprod = {};

(() => {
  const SVG = "http://www.w3.org/2000/svg";

  // h("td", {class: "number"}, "12"): attributes, `on...` listeners, then children; null and false children are left out.
  function build(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return element;
  }

  mlprod.h = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
  mlprod.s = (tag, attributes, ...children) => build(document.createElementNS(SVG, tag), attributes, children);

  // A link to another page, only to web and file addresses, whatever the data contains.
  mlprod.link = (text, href, attributes) => {
    let address = null;
    try {
      address = new URL(href, document.baseURI);
    } catch {
      address = null;
    }
    if (!address || !["http:", "https:", "file:"].includes(address.protocol)) return mlprod.h("span", {}, text);
    return mlprod.h("a", { href: address.href, target: "_blank", rel: "noopener", ...attributes }, text);
  };

  // A sentence whose dates are not broken across lines.
  mlprod.prose = (sentence) =>
    sentence.split(/(\d{4}-\d\d-\d\d)/).map((part, i) => (i % 2 ? mlprod.h("span", { class: "day" }, part) : part));

  // Announces a sentence to screen readers, and shows it for some seconds, or as long as it takes to read more of them.
  mlprod.announce = (sentence, bad) => {
    const place = document.getElementById("status");
    place.textContent = sentence;
    place.classList.toggle("bad", Boolean(bad));
    place.classList.add("shown");
    clearTimeout(mlprod.announce.timer);
    mlprod.announce.timer = setTimeout(() => place.classList.remove("shown"), Math.max(bad ? 12000 : 6000, 60 * sentence.length));
  };

  // The only tooltip: `lines` are nodes; it stays inside the window, beside its point or element. `holder` is an element that was
  // reached by key: bringing it into view scrolls the page, and the tooltip moves along instead of being hidden.
  let tip = null;
  let anchor = null;
  let offset = null; // of the tooltip's point from the corner of `anchor`
  mlprod.tip = {
    show(lines, x, y, holder = null) {
      if (!tip) document.body.append((tip = mlprod.h("div", { class: "tip", "aria-hidden": "true" })));
      tip.replaceChildren(...lines);
      tip.hidden = false;
      anchor = holder;
      if (anchor) {
        const box = anchor.getBoundingClientRect();
        offset = { x: x - box.left, y: y - box.top };
      }
      mlprod.tip.place(x, y);
    },
    place(x, y) {
      const { width, height } = tip.getBoundingClientRect();
      const room = document.documentElement.clientWidth;
      const left = x + 14 + width > room ? x - width - 14 : x + 14;
      tip.style.left = `${Math.max(6, Math.min(left, room - width - 6))}px`;
      const above = y - height - 14;
      tip.style.top = `${above < 6 ? Math.min(y + 18, innerHeight - height - 6) : above}px`;
    },
    hide() {
      if (tip) tip.hidden = true;
    },
  };
  addEventListener("scroll", () => {
    if (!tip || tip.hidden) return;
    if (!anchor || anchor !== document.activeElement) return mlprod.tip.hide();
    const box = anchor.getBoundingClientRect();
    mlprod.tip.place(box.left + offset.x, box.top + offset.y);
  }, { passive: true, capture: true });
  addEventListener("keydown", (event) => event.key === "Escape" && mlprod.tip.hide());

  // A table that is filled when it is opened for the first time.
  mlprod.tableOnDemand = (summary, fill) => {
    const details = mlprod.h("details", { class: "alternative" }, mlprod.h("summary", {}, summary));
    details.addEventListener(
      "toggle",
      () => details.append(mlprod.h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": summary }, fill())),
      { once: true },
    );
    return details;
  };

  mlprod.table = (caption, headings, rows, numeric = []) => {
    const { h } = mlprod;
    const side = (i) => (numeric.includes(i) ? "number" : null);
    return h(
      "table",
      {},
      caption && h("caption", {}, caption),
      h("thead", {}, h("tr", {}, headings.map((text, i) => h("th", { scope: "col", class: side(i) }, text)))),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h("tr", row.attributes || {}, (row.cells || row).map((cell, i) =>
            i === 0 ? h("th", { scope: "row", class: side(i) }, cell) : h("td", { class: side(i) }, cell))),
        ),
      ),
    );
  };
})();
