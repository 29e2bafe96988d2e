/** Keeps one visitor's token and renews it before it expires. */
export class TokenSource {
  #fetchToken;
  #token = null;
  #staleAt = 0;
  #pending = null;

  /** `fetchToken` asks for a token: async () => ({token, expires_in in seconds}). */
  constructor(fetchToken) {
    this.#fetchToken = fetchToken;
  }

  /** A valid token. `renew`: the last one was refused. Calls at the same time share one request. */
  async get({ renew = false } = {}) {
    if (!renew && this.#token && Date.now() < this.#staleAt) return this.#token;
    this.#pending ??= this.#renewed().finally(() => (this.#pending = null));
    return this.#pending;
  }

  async #renewed() {
    const { token, expires_in: seconds } = await this.#fetchToken();
    const marginSeconds = Math.min(60, seconds * 0.2);
    this.#token = token;
    this.#staleAt = Date.now() + (seconds - marginSeconds) * 1000;
    return token;
  }
}
