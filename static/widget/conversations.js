/**
 * The visitor's conversations, kept as the server has them: looked at again whenever something may have changed, here, in
 * another tab or in another browser. It knows no DOM.
 */

/** Milliseconds between two looks while the page is seen. */
export const TIMING = { look: 30_000 };

/** Conversations of one look; `more()` adds as many. */
const PAGE = 30;

/** The most that the server gives at once. */
const MAX_PAGE = 100;

export class Conversations {
  #api;
  #channel = null;
  #name;
  #onChange;
  #onDeleted;
  #looking = false;
  #again = false; // something changed during a look
  #timer = null;
  #started = false;
  #removed = new Set(); // ids: a look that began before their end must not bring them back

  /** `onChange()` after every change of `list`, `next` or `error`. `onDeleted(id)`: by another tab. `name` is the channel's. */
  constructor({ api, name, onChange, onDeleted }) {
    this.#api = api;
    this.#name = name;
    this.#onChange = onChange;
    this.#onDeleted = onDeleted;
    this.list = null; // [{id, title, created_at, updated_at, turns, busy}], newest first; null: not known yet
    this.next = null; // leads to the older ones
    this.error = null; // of the last look
  }

  start() {
    if (this.#started) return;
    this.#started = true;
    if (typeof BroadcastChannel === "function") {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }) => this.#heard(data);
    }
    for (const name of ["focus", "online", "pageshow"]) addEventListener(name, this.#look);
    document.addEventListener("visibilitychange", this.#look);
    this.#look();
  }

  stop() {
    this.#started = false;
    this.#channel?.close();
    this.#channel = null;
    for (const name of ["focus", "online", "pageshow"]) removeEventListener(name, this.#look);
    document.removeEventListener("visibilitychange", this.#look);
    clearTimeout(this.#timer);
  }

  find(id) {
    return this.list?.find((each) => each.id === id) ?? null;
  }

  /** Looks again. A look that is under way is followed by another. */
  async refresh() {
    if (this.#looking) {
      this.#again = true;
      return;
    }
    this.#looking = true;
    clearTimeout(this.#timer);
    const limit = Math.min(MAX_PAGE, Math.max(PAGE, this.list?.length ?? 0));
    await this.#fetch(async () => {
      const told = await this.#api.conversations({ limit });
      this.list = told.conversations.filter(({ id }) => !this.#removed.has(id));
      this.next = told.next ?? null;
    });
    this.#looking = false;
    if (this.#again) {
      this.#again = false;
      this.refresh();
    } else if (this.#started) this.#timer = setTimeout(this.#look, TIMING.look);
  }

  /** Fetches older ones. */
  async more() {
    const cursor = this.next;
    if (cursor === null) return;
    await this.#fetch(async () => {
      const told = await this.#api.conversations({ limit: PAGE, cursor });
      const known = new Set(this.list.map(({ id }) => id));
      this.list = [...this.list, ...told.conversations.filter(({ id }) => !known.has(id) && !this.#removed.has(id))];
      this.next = told.next ?? null;
    });
  }

  /** Says that a turn came or went, here: all tabs look again. */
  noteChange() {
    this.#channel?.postMessage({ kind: "changed" });
    this.refresh();
  }

  /** Raises ApiError. */
  async rename(id, title) {
    const renamed = await this.#api.rename(id, title);
    this.list = this.list.map((each) => (each.id === id ? { ...each, ...renamed } : each));
    this.#onChange();
    this.noteChange();
  }

  /** Erases it; one that is gone already is as good. Raises ApiError. */
  async remove(id) {
    try {
      await this.#api.remove(id);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    this.#drop(id);
    this.#channel?.postMessage({ kind: "deleted", id });
  }

  #drop(id) {
    this.#removed.add(id);
    this.list = this.list?.filter((each) => each.id !== id) ?? null;
    this.#onChange();
  }

  #heard({ kind, id }) {
    if (kind === "deleted") {
      this.#drop(id);
      this.#onDeleted(id);
    } else if (isSeen()) this.refresh();
  }

  /** Looks only while it is seen: whoever comes back finds it looked at again. */
  #look = () => {
    if (isSeen() && !this.#looking) this.refresh();
  };

  async #fetch(what) {
    try {
      await what();
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    this.#onChange();
  }
}

const isSeen = () => document.visibilityState === "visible";
