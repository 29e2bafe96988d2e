/** Elements without markup strings. */

/** `element("p", {className: "x", hidden: true, "aria-label": "…"}, child, "text")` */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && !name.startsWith("aria-") && name !== "role") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** A line icon on a 24 × 24 grid; it says nothing to assistive technology. */
export function icon(path, className = "icon") {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(namespace, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export const ICONS = {
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M8 8h8v8H8z",
  down: "M12 5v14M5.5 12.5 12 19l6.5-6.5",
  copy: "M9 9h10v11H9zM15 9V5H5v10h4",
  check: "M5 12.5 10 17.5 19.5 7",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  plus: "M12 5v14M5 12h14",
  close: "M6.5 6.5 17.5 17.5M17.5 6.5 6.5 17.5",
  edit: "M4.5 19.5l1-4.2L16.3 4.5 19.5 7.7 8.7 18.5zM13.8 7 17 10.2",
  trash: "M4.5 7h15M9.5 7V4h5v3M6.5 7l.9 13h9.2l.9-13M10.2 11v5.2M13.8 11v5.2",
  thumb: "M7 11v9H3.5v-9zM7 11l4-7.5c1.7 0 2.6 1 2.6 2.6V9.5h5.2a1.8 1.8 0 0 1 1.8 2.1l-1.2 6.8A2 2 0 0 1 17.4 20H7",
  left: "M14.5 6 8.5 12 14.5 18",
  right: "M9.5 6 15.5 12 9.5 18",
  list: "M4 6.5h16M4 12h16M4 17.5h9",
};

/** A button that shows an icon and says `label`. */
export function iconButton(path, label, onclick, className = "tool") {
  return element("button", { type: "button", className, "aria-label": label, title: label, onclick }, icon(path));
}

/** Changes what an icon button says. */
export function relabel(button, label) {
  if (button.title === label) return;
  button.title = label;
  button.setAttribute("aria-label", label);
}

/** Shows or hides without touching what is so already. */
export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Sets text without touching what is so already: assistive technology would read it again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Copies text, also where there is no clipboard API (plain http). */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", { value: text, readOnly: true });
    area.style.position = "fixed";
    area.style.opacity = "0";
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
