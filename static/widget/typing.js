/** What every place to type in does. */

/** Whether a key press sends what was typed: Enter does, with Shift it makes a new line. */
export function isSending(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

/** Lets a text area grow with its text, where the style sheet alone can't. */
export function growing(area) {
  if (CSS.supports("field-sizing", "content")) return area;
  const fit = () => {
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  };
  if (!area.dataset.grows) area.addEventListener("input", fit);
  area.dataset.grows = "true";
  if (area.isConnected) fit();
  return area;
}
