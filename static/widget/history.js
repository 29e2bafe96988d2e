/** The conversations of before: the list, wired to the chat. Loaded only where the element has the attribute `history`. */

import { ConversationList } from "./conversation_list.js";
import { Conversations } from "./conversations.js";
import { Shelf } from "./shelf.js";

export { shelfStyle } from "./shelf_style.js";

export class History {
  #words;
  #list;
  #shelf;
  #openId;
  #onLooked;

  /**
   * Puts itself around `main`, the chat's place in `node`. `name` tells the tabs of one service from those of another.
   * `openId()`: of the conversation that is shown, null for a new one. `actions`: open(id), fresh(), gone(id): deleted, here
   * or in another tab; looked(entry): what the list says of the open one, null where it does not name it.
   */
  constructor({ node, main, api, name, words, openId, actions }) {
    this.#openId = openId;
    this.#onLooked = actions.looked;
    this.#words = words;
    this.conversations = new Conversations({
      api,
      name,
      onChange: () => this.#looked(),
      onDeleted: (id) => actions.gone(id, { elsewhere: true }),
    });
    const then = (act) => (...given) => {
      this.#shelf.close();
      act(...given);
    };
    this.#list = new ConversationList(words, {
      open: then(actions.open),
      fresh: then(actions.fresh),
      rename: (id, title) => this.conversations.rename(id, title),
      remove: async (id) => {
        await this.conversations.remove(id);
        actions.gone(id, { elsewhere: false });
      },
      more: () => this.conversations.more(),
      look: () => this.conversations.refresh(),
    });
    this.#shelf = new Shelf({ node, main, list: this.#list, words, onFresh: then(actions.fresh) });
    this.draw();
  }

  start() {
    this.conversations.start();
  }

  stop() {
    this.conversations.stop();
  }

  /** Takes the list away. */
  remove() {
    this.stop();
    this.#shelf.remove();
  }

  /** Shows which conversation is open. */
  draw() {
    const id = this.#openId();
    this.#list.update(this.conversations, id);
    this.#shelf.setTitle(this.conversations.find(id)?.title ?? this.#words.newChat);
  }

  #looked() {
    this.draw();
    const { list, error } = this.conversations;
    if (list !== null && error === null) this.#onLooked(this.conversations.find(this.#openId()));
  }
}
