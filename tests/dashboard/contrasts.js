// Of every element with text of its own: the contrast of its colour with what lies behind it, by WCAG 2's formula.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (css) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = css;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255);
};
const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
const behind = (element) => {
  const chain = [];
  for (let at = element; at; at = at.parentElement) chain.unshift(rgba(getComputedStyle(at).backgroundColor));
  return chain.reduce((below, top) => over(top, below), [1, 1, 1]);
};
const light = (colour) => {
  const [r, g, b] = colour.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const speaks = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!speaks || !element.checkVisibility() || (element.closest("svg") && element.tagName !== "text")) continue;
  const style = getComputedStyle(element), back = behind(element);
  const ink = rgba(element.tagName === "text" ? style.fill : style.color);
  const [a, b] = [light(over(ink, back)), light(back)];
  found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.tagName, element.textContent.slice(0, 40)]);
}
return found;
