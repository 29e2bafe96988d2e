/**
 * Where the list of conversations stands: beside the chat where there is room, else in a drawer that a bar opens.
 * It holds the list and the chat, and decides by its own width, since a page may give it any.
 */

import { ICONS, element, iconButton, say } from "./dom.js";

/** Pixels from which both stand side by side. */
const ROOM = 720;

export class Shelf {
  #node;
  #main;
  #list;
  #opener;
  #title;
  #bar;
  #drawer;
  #shade;
  #width;
  #isOpen = false;

  /** Fits itself around `main`, the chat's place in `node`. `list` is a ConversationList; `onFresh()` asks for a new conversation. */
  constructor({ node, main, list, words, onFresh }) {
    this.#node = node;
    this.#main = main;
    this.#list = list;
    this.#opener = iconButton(ICONS.list, words.openList, () => this.#toggle(true));
    this.#opener.setAttribute("aria-expanded", "false");
    this.#title = element("span", { className: "bar-title" });
    this.#bar = element("div", { className: "bar" }, this.#opener, this.#title, iconButton(ICONS.plus, words.newChat, onFresh));
    const closer = iconButton(ICONS.close, words.closeList, () => this.close(), "tool closer");
    this.#drawer = element("div", { className: "drawer" }, closer, list.node);
    this.#drawer.addEventListener("keydown", ({ key }) => key === "Escape" && this.close());
    this.#shade = element("div", { className: "shade", onclick: () => this.close() });
    main.prepend(this.#bar);
    node.prepend(this.#shade, this.#drawer);
    this.#width = new ResizeObserver(([{ contentRect }]) => this.#fit(contentRect.width));
    this.#width.observe(node);
  }

  /** Leaves the chat alone. */
  remove() {
    this.#width.disconnect();
    this.#toggle(false);
    this.#node.classList.remove("beside");
    for (const part of [this.#bar, this.#drawer, this.#shade]) part.remove();
  }

  /** What the bar says of the conversation that is open. */
  setTitle(text) {
    say(this.#title, text);
    this.#title.title = text;
  }

  close() {
    if (!this.#isOpen) return;
    this.#toggle(false);
    this.#opener.focus();
  }

  #toggle(open) {
    this.#isOpen = open;
    this.#node.classList.toggle("open", open);
    this.#main.inert = open;
    this.#opener.setAttribute("aria-expanded", String(open));
    if (open) this.#list.focus();
  }

  #fit(width) {
    const beside = width >= ROOM;
    this.#node.classList.toggle("beside", beside);
    if (beside && this.#isOpen) this.#toggle(false);
  }
}
