/**
 * `<ai-chat>`: a chat that streams, resumes, stops, and ends with the stored text. One tag embeds it:
 *
 *     <script type="module" src="https://chat.example/static/widget.js"></script>
 *     <ai-chat token-url="/my-site/chat-token"></ai-chat>
 *
 * Attributes: `base-url` (default: where this script comes from), `token-url` (asked by POST for `{token, expires_in}`),
 * `route` (default: the site's `chat`), `history` (present: the visitor's conversations of before, in a list at the side,
 * or in a drawer where it is narrow; to be opened, renamed and deleted).
 * Properties: `getToken` (async ({renew}) => token) instead of `token-url`; `suggestions`, `greeting`, `words`; `conversationId`
 * of what is shown, to be read. Methods: `send(message)`, `stop()`, `reset()`, `open(conversationId)`, `refresh()`, `focus()`.
 * Events (they bubble; `detail` is described at `describe`): `ai-chat-start`, `ai-chat-delta`, `ai-chat-end`, and
 * `ai-chat-change` after everything else that changes.
 */

import { Api, fetchToken } from "./widget/api.js";
import { Chat } from "./widget/chat.js";
import { element } from "./widget/dom.js";
import { Store } from "./widget/store.js";
import { style } from "./widget/style.js";
import { TokenSource } from "./widget/token_source.js";
import { ACCEPTED } from "./widget/turn.js";
import { View } from "./widget/view.js";
import { ENGLISH } from "./widget/words.js";

/** The product's own root: this file stands in its `static/`. */
const HOME = new URL("../", import.meta.url).href;

/** How long a call waits for the page to set `getToken`. */
const PATIENCE_MS = 3000;

const SUGGESTIONS = ["What can you help me with?", "Explain server-sent events in two sentences.", "Write a haiku about patience."];

export class AiChat extends HTMLElement {
  static observedAttributes = ["history"];

  #chat = null;
  #view = null;
  #frame = null; // the places of the list and of the chat
  #history = null;
  #store = null;
  #api = null;
  #tokens = null;
  #shownText = "";
  #suggestions = SUGGESTIONS;
  #greeting = null;
  #getToken = null;
  #onGetToken = () => {};

  /** Replacements for what the widget says, by the names in `widget/words.js`. Set before the script is loaded. */
  words = this.words ?? {};

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [style];
    this.#adopt("getToken");
    this.#adopt("suggestions");
    this.#adopt("greeting");
    const main = element("div", { className: "main" });
    this.#frame = { node: element("div", { className: "shelf" }, main), main };
    this.shadowRoot.append(this.#frame.node);
  }

  get baseUrl() {
    return new URL(this.getAttribute("base-url") ?? HOME, document.baseURI).href.replace(/\/?$/, "/");
  }

  /** async ({renew}) => token; `renew` is true when the last token was refused. */
  get getToken() {
    return this.#getToken;
  }

  set getToken(getToken) {
    this.#getToken = getToken;
    this.#onGetToken();
  }

  get suggestions() {
    return this.#suggestions;
  }

  set suggestions(texts) {
    this.#suggestions = texts;
    this.#view?.setSuggestions(texts);
  }

  get greeting() {
    return this.#greeting;
  }

  set greeting(text) {
    this.#greeting = text;
    this.#view?.setGreeting(text);
  }

  get conversationId() {
    return this.#chat?.conversationId ?? null;
  }

  connectedCallback() {
    this.#api ??= new Api(this.baseUrl, (wish) => this.#token(wish));
    this.#view ??= this.#newView();
    this.#store = new Store(`ai-chat 2 ${this.baseUrl} ${this.id}`);
    this.#begin();
    this.#chat.restore();
    this.#view.render(this.#chat);
    this.#fitHistory();
  }

  disconnectedCallback() {
    this.#chat.disconnect();
    this.#history?.stop();
  }

  attributeChangedCallback() {
    if (this.isConnected && this.#view) this.#fitHistory();
  }

  focus() {
    this.#view?.focus();
  }

  /** Sends a message as if it had been typed; false while another is being answered. */
  send(message) {
    return this.#chat?.send(message) ?? false;
  }

  /** Stops the running answer. */
  stop() {
    return this.#chat?.stop();
  }

  /** Begins a new conversation. Without `history` there is no way back: false while an answer is being written. */
  reset() {
    if (!this.#chat || (this.#chat.running && !this.#history)) return false;
    this.#fresh("");
    return true;
  }

  /** Shows a conversation of before, with all its turns. */
  open(conversationId) {
    if (this.#chat?.conversationId === conversationId && !this.#chat.opening) return;
    this.#begin();
    this.#view.notify("");
    this.#chat.open(conversationId);
  }

  /** Looks again for the conversations: the visitor has changed, say. */
  refresh() {
    return this.#history?.conversations.refresh();
  }

  get #allWords() {
    return { ...ENGLISH, ...this.words };
  }

  #newView() {
    const view = new View(this.#frame.main, this.#allWords, {
      send: (text) => this.#chat.send(text),
      stop: () => this.#chat.stop(),
      retry: (turn) => this.#chat.retry(turn),
      regenerate: (turn) => this.#chat.regenerate(turn),
      edit: (turn, text) => this.#chat.edit(turn, text),
      step: (turn, by) => this.#chat.step(turn, by),
      rate: (turn, rating, comment) => this.#chat.rate(turn, rating, comment),
      older: () => this.#chat.older(),
      reopen: () => this.open(this.#chat.conversationId),
      reset: () => this.reset(),
      canReset: () => !this.#history && !this.#chat.running,
      allowance: () => this.#api.allowance,
    });
    view.setSuggestions(this.#suggestions);
    if (this.#greeting) view.setGreeting(this.#greeting);
    return view;
  }

  /** Another conversation in the place of this one, whose answer goes on without us. */
  #begin() {
    this.#chat?.disconnect();
    const chat = new Chat({
      api: this.#api,
      store: this.#store,
      route: () => this.getAttribute("route"),
      onChange: (turn, what) => this.#changed(chat, turn, what),
      onGone: (message) => this.#fresh(this.#allWords.gone, message),
    });
    this.#chat = chat;
  }

  /** A new conversation; `notice` says why, where the visitor did not ask for it, and `draft` was not sent. */
  #fresh(notice, draft) {
    this.#begin();
    this.#store.clear();
    this.#view.notify(notice, draft);
    this.#changed(this.#chat, null, "change");
    if (notice) this.refresh();
  }

  async #fitHistory() {
    if (!this.hasAttribute("history")) {
      this.#history?.remove();
      this.#history = null;
      this.#view.render(this.#chat);
      return;
    }
    const { node } = this.#frame;
    node.classList.add("waiting"); // for its list, rather than jump when that comes
    const { History, shelfStyle } = await import("./widget/history.js").catch(() => ({})); // without it the chat goes on
    node.classList.remove("waiting");
    if (!History || !this.isConnected || !this.hasAttribute("history")) return;
    this.shadowRoot.adoptedStyleSheets = [style, shelfStyle];
    this.#history ??= new History({
      ...this.#frame,
      api: this.#api,
      name: `ai-chat ${this.baseUrl}`,
      words: this.#allWords,
      openId: () => this.conversationId,
      actions: {
        open: (id) => this.open(id),
        fresh: () => this.reset() && this.focus(),
        gone: (id, { elsewhere }) => id === this.conversationId && this.#fresh(elsewhere ? this.#allWords.gone : ""),
        looked: (entry) => this.#chat.compare(entry),
      },
    });
    this.#history.start();
    this.#view.render(this.#chat);
  }

  async #token(wish) {
    const url = this.getAttribute("token-url");
    if (!url && !this.#getToken) await this.#wayIn();
    if (this.#getToken) return this.#getToken(wish);
    if (!url) throw new Error("This chat has no way to sign in: set getToken or token-url.");
    this.#tokens ??= new TokenSource(() => fetchToken(new URL(url, document.baseURI)));
    return this.#tokens.get(wish);
  }

  /** A page may set `getToken` a little later than an answer is picked up again. */
  #wayIn() {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, PATIENCE_MS);
      this.#onGetToken = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #changed(chat, turn, what) {
    const comesOrGoes = what === "start" || what === "end";
    if (comesOrGoes) this.#history?.conversations.noteChange();
    if (chat !== this.#chat) return; // its visitor has gone on to another conversation
    if (what !== "delta") this.#history?.draw();
    this.#view.render(chat, turn);
    const told = turn ?? chat.turns.at(-1) ?? null;
    const detail = told && this.#describe(told);
    this.#shownText = told?.generation.text ?? "";
    this.dispatchEvent(new CustomEvent(`ai-chat-${what}`, { detail, bubbles: true, composed: true }));
  }

  /** What an event tells: the turn as it is. `piece` is the text just appended, null where the text was replaced. */
  #describe(turn) {
    const { status, text, events, run, provider, model, usage, cached, finishReason, error } = turn.generation;
    return {
      id: turn.id,
      conversationId: this.conversationId,
      parent: turn.parent,
      phase: turn.phase === ACCEPTED ? status : turn.phase,
      settled: turn.settled,
      verified: turn.verified,
      text,
      piece: text.startsWith(this.#shownText) ? text.slice(this.#shownText.length) : null,
      link: this.#chat.link,
      events,
      resumes: turn.resumes,
      firstTextMs: turn.firstTextMs,
      elapsedMs: turn.elapsedMs,
      run,
      provider,
      model,
      usage,
      cached,
      finishReason,
      error: error ?? turn.refusal,
      self: turn.links && this.#api.resolve(turn.links.self).href,
    };
  }

  /** Takes over a property that was set before the element was defined, and now hides the accessor. */
  #adopt(name) {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    delete this[name];
    this[name] = value;
  }
}

customElements.define("ai-chat", AiChat);
