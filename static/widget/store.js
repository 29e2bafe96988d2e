/** What one tab remembers over a reload: sessionStorage where there is one, else nothing. */
export class Store {
  #key;

  constructor(key) {
    this.#key = key;
  }

  load() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#key));
    } catch {
      return null;
    }
  }

  /** Keeps `value`; where it is too large, `shrink(value)` gives a smaller one, or null when there is none. */
  save(value, shrink) {
    for (let kept = value; kept; kept = shrink(kept)) {
      try {
        sessionStorage.setItem(this.#key, JSON.stringify(kept));
        return;
      } catch (error) {
        if (error.name !== "QuotaExceededError") return;
      }
    }
  }

  clear() {
    try {
      sessionStorage.removeItem(this.#key);
    } catch {
      // Storage that can't be reached holds nothing either.
    }
  }
}
