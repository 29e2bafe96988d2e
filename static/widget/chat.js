/**
 * A conversation as one tab holds it: its turns, what is sent, stopped, tried again, and picked up after a reload.
 * It knows no DOM; whoever shows it listens to `onChange(turn)` and reads `turns`.
 */

import { Answering } from "./answering.js";
import { newestUnder, pathTo, siblingsOf } from "./branches.js";
import { ACCEPTED, REFUSED, newTurn, restored, storable, turnFrom } from "./turn.js";

/** Turns that one look at a conversation brings at most; the server's own limit. */
const PAGE = 100;

export class Chat {
  #api;
  #store;
  #route;
  #onChange;
  #onGone;
  #all = []; // every turn that is known, oldest first
  #leaf = null; // the last turn of the branch that is shown
  #path = null; // from the first turn to the leaf; null: to be found again
  #cursor = null; // leads to the turns before those that are known
  #missing = 0; // turns that the server has beyond those that are known; null: not compared yet
  #answering = null; // of the newest turn that was sent or picked up
  #closed = false;

  /**
   * `route()`: the site's route to ask, null for its default. `onChange(turn, what)`: what is start, delta, end or change;
   * turn null: more than one. `onGone(message)`: the server has this conversation no more; `message` could not be sent.
   */
  constructor({ api, store, route, onChange, onGone }) {
    this.#api = api;
    this.#store = store;
    this.#route = route;
    this.#onChange = onChange;
    this.#onGone = onGone;
    this.conversationId = null;
    this.opening = null; // {error: null | ApiError} until an older conversation is there
  }

  /** The turns of the branch that is shown; the same array until that changes. */
  get turns() {
    this.#path ??= pathTo(this.#all, this.#leaf);
    return this.#path;
  }

  /** The turn that is being answered, shown or not; null where a message can be sent. */
  get running() {
    return this.#all.findLast((turn) => turn.phase !== REFUSED && !turn.settled) ?? null;
  }

  get link() {
    return this.#answering?.link ?? "closed";
  }

  get hasOlder() {
    return this.#cursor !== null;
  }

  /** Where a turn stands among its siblings: `at` from 1, `of` how many, `otherwise` whether they ask different things. */
  place(turn) {
    const siblings = siblingsOf(this.#all, turn);
    const otherwise = siblings.some((each) => each.question !== turn.question);
    return { at: siblings.indexOf(turn) + 1, of: siblings.length, otherwise };
  }

  // Picking up

  /** Shows the turns of before a reload, and follows the one that was not over. */
  restore() {
    const kept = this.#store.load();
    if (!kept) return;
    this.conversationId = kept.conversationId;
    this.#all = kept.turns.map(restored);
    this.#leaf = this.#all.find(({ key }) => key === kept.leaf) ?? this.#all.at(-1) ?? null;
    for (const turn of this.turns) this.#onChange(turn, "change");
    const turn = this.running;
    if (!turn) return;
    if (turn.phase === ACCEPTED) {
      turn.resumes += 1;
      this.#changed(turn, "start");
      this.#newAnswering(turn).follow();
    } else this.#post(turn); // it may have arrived or not; the key makes it one generation
  }

  /** Shows the conversation `id` as the server has it, and follows the answer that is being written. */
  async open(id) {
    this.conversationId = id;
    this.opening = { error: null };
    this.#onChange(null, "change");
    let told;
    try {
      told = await this.#api.conversation(id, { limit: PAGE });
    } catch (error) {
      if (!this.#closed) this.#notOpened(error);
      return;
    }
    if (this.#closed) return;
    this.opening = null;
    this.#cursor = told.next ?? null;
    this.#missing = this.#cursor === null ? 0 : null;
    this.#take(told.turns);
  }

  /** Fetches the turns before the first that is known. Raises ApiError. */
  async older() {
    const told = await this.#api.conversation(this.conversationId, { limit: PAGE, cursor: this.#cursor });
    if (this.#closed) return;
    this.#cursor = told.next ?? null;
    this.#missing = null;
    this.#take(told.turns, { before: true });
  }

  /** Compares with the list's `entry` of this conversation (null: it is not there), and fetches what came in elsewhere. */
  async compare(entry) {
    if (this.conversationId === null || this.running || this.opening) return;
    const missing = () => (entry ? entry.turns - this.#all.filter(({ id }) => id !== null).length : this.#missing);
    if (entry) this.#missing ??= missing();
    const more = missing() - this.#missing;
    if (entry && more === 0) return;
    try {
      const told = await this.#api.conversation(this.conversationId, { limit: Math.min(PAGE, Math.max(1, more)) });
      if (this.#closed || this.running) return;
      this.#take(told.turns);
      this.#missing = missing();
      if (this.#missing > 0) this.#cursor ??= told.next ?? null;
    } catch (error) {
      if (!this.#closed && isGone(error)) this.#onGone("");
    }
  }

  /** Takes in what the server tells of turns. What follows the branch that is shown is shown. */
  #take(told, { before = false } = {}) {
    const known = new Set(this.#all.map(({ id }) => id));
    const found = told.filter(({ id }) => !known.has(id)).map(turnFrom);
    this.#all = before ? [...found, ...this.#all] : [...this.#all, ...found];
    this.#show(this.#leaf ? newestUnder(this.#all, this.#leaf) : (this.#all.at(-1) ?? null));
    const { running } = this;
    if (!running || !found.includes(running)) return;
    this.#onChange(running, "start");
    this.#newAnswering(running).follow();
  }

  #notOpened(error) {
    if (isGone(error)) {
      this.#onGone("");
      return;
    }
    this.opening = { error };
    this.#onChange(null, "change");
  }

  // What a visitor does

  /** Sends a message after the last turn that is shown; false while another is being answered. */
  send(message) {
    if (!message.trim()) return false;
    const last = this.turns.findLast(({ id }) => id !== null);
    const parent = last?.id ?? null;
    return this.#ask(message, parent, { message, ...(parent && { conversation_id: this.conversationId, parent }) });
  }

  /** Asks the same again, beside `turn`. */
  regenerate(turn) {
    return this.#ask(turn.question, turn.parent, { regenerate: turn.id });
  }

  /** Asks something else in the place of `turn`, which stays beside it; one that was refused is replaced. */
  edit(turn, message) {
    if (!message.trim()) return false;
    if (turn.id !== null) return this.#ask(message, turn.parent, { edit: turn.id, message });
    if (this.running) return false;
    this.#all = this.#all.filter((each) => each !== turn);
    return this.#ask(message, turn.parent, { ...turn.body, message });
  }

  /** Sends a turn again: the same request when it was refused, a sibling when its answer failed. */
  retry(turn) {
    if (this.running) return;
    if (turn.phase === REFUSED) this.#post(turn);
    else this.regenerate(turn);
  }

  /** Shows the sibling of `turn` that stands `by` places further, with what followed it last. */
  step(turn, by) {
    const siblings = siblingsOf(this.#all, turn);
    const other = siblings[siblings.indexOf(turn) + by];
    if (!other) return null;
    this.#show(newestUnder(this.#all, other));
    return other;
  }

  /** Keeps what the visitor thinks of an answer; rating null takes it back. */
  async rate(turn, rating, comment = "") {
    const before = turn.feedback;
    Object.assign(turn, { feedback: rating && { rating, comment }, feedbackError: null });
    this.#changed(turn);
    try {
      await this.#api.rate(turn.links, { rating, ...(rating && { comment }) });
    } catch (error) {
      Object.assign(turn, { feedback: before, feedbackError: error.message });
      this.#changed(turn);
    }
  }

  /** Asks for the end of the running answer. It ends when the server says so. */
  async stop() {
    if (this.running) await this.#answering.stop();
  }

  /** Lets go of the connection and keeps nothing more; the generation goes on. */
  disconnect() {
    this.#closed = true;
    this.#answering?.disconnect();
  }

  #ask(question, parent, body) {
    if (this.running || this.opening) return false;
    const route = this.#route();
    const turn = newTurn({ question, parent, body: { ...body, ...(route && { route }) } });
    this.#all = [...this.#all, turn];
    this.#show(turn);
    this.#post(turn);
    return true;
  }

  #show(leaf) {
    this.#leaf = leaf;
    this.#path = null;
    this.#changed(null);
  }

  #post(turn) {
    this.#newAnswering(turn).post();
  }

  #newAnswering(turn) {
    this.#answering?.disconnect();
    let { firstTextMs } = turn;
    this.#answering = new Answering({
      api: this.#api,
      turn,
      onChange: (_, what) => {
        const passing = ["change", "delta"].includes(what) && turn.phase === ACCEPTED && turn.firstTextMs === firstTextMs;
        ({ firstTextMs } = turn);
        if (!passing) this.#save();
        this.#onChange(turn, what);
      },
      onAccepted: (accepted) => (this.conversationId = accepted.conversation_id ?? this.conversationId),
      onGone: () => this.#onGone(turn.body.message ?? ""),
    });
    return this.#answering;
  }

  #changed(turn, what = "change") {
    this.#save();
    this.#onChange(turn, what);
  }

  #save() {
    if (this.#closed) return;
    const kept = { conversationId: this.conversationId, leaf: this.#leaf?.key ?? null, turns: this.#all.map(storable) };
    this.#store.save(kept, withoutTheOldest);
  }
}

/** The server answered that there is no such thing; an address that leads to no such server has no code of ours. */
const isGone = ({ code }) => code === "not_found";

const withoutTheOldest = (kept) => (kept.turns.length > 1 ? { ...kept, turns: kept.turns.slice(1) } : null);
