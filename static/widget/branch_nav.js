/** `‹ 1/2 ›`: which of a turn's siblings is shown. */

import { ICONS, element, iconButton, say, show } from "./dom.js";

export class BranchNav {
  #words;

  /** `onStep(by)`: -1 or 1. */
  constructor(words, onStep) {
    this.#words = words;
    this.back = iconButton(ICONS.left, words.previousVersion, () => onStep(-1));
    this.count = element("span", { className: "count" });
    this.on = iconButton(ICONS.right, words.nextVersion, () => onStep(1));
    this.node = element("span", { className: "branches", role: "group", hidden: true }, this.back, this.count, this.on);
  }

  update({ at, of }) {
    show(this.node, of > 1);
    if (of < 2) return;
    say(this.count, `${at}/${of}`);
    this.node.setAttribute("aria-label", this.#words.version(at, of));
    this.back.disabled = at === 1;
    this.on.disabled = at === of;
  }

  /** Where the focus goes after a step: the button that was pressed, or the other one at an end. */
  focus(by) {
    const [first, second] = by < 0 ? [this.back, this.on] : [this.on, this.back];
    (first.disabled ? second : first).focus();
  }
}
