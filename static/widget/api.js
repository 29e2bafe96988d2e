/** The calls of the visitor's API, and its one shape of errors. */

/** A call that was refused, or that never arrived (`status` 0). */
export class ApiError extends Error {
  constructor({ status, code, message, requestId = null, retryAfter = null, links = null, limit = null }) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    this.retryAfter = retryAfter; // seconds
    this.limit = limit; // which limit, with rate_limited: requests | visitor_generations | tenant_generations
    this.links = links; // of the generation that is in the way, with conversation_busy
  }

  /** Whether the same call may succeed later. */
  get retryable() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export class Api {
  #baseUrl;
  #getToken;

  /** `getToken({renew})` gives the visitor's token; `renew` asks for another one than the last, which was refused. */
  constructor(baseUrl, getToken) {
    this.#baseUrl = new URL(baseUrl, globalThis.location?.href);
    this.#getToken = getToken;
    this.allowance = null; // {limit, remaining, resetAt} of requests, as the last POST told it
  }

  /** Starts a generation. `key` makes it one generation however often it is sent. */
  post(body, key) {
    const onResponse = ({ headers }) => (this.allowance = allowanceOf(headers) ?? this.allowance);
    return this.#call("POST", "ai/v1/chat", { body, headers: { "Idempotency-Key": key }, onResponse });
  }

  /** The generation as it is; with `waitSeconds` the answer comes when it ends, or after that time. */
  poll(links, { waitSeconds = 0, signal } = {}) {
    const url = this.resolve(links.self);
    if (waitSeconds) url.searchParams.set("wait", waitSeconds);
    return this.#call("GET", url, { signal, timeoutSeconds: waitSeconds + 20 });
  }

  cancel(links) {
    return this.#call("POST", links.cancel);
  }

  /** Keeps what the visitor thinks of an answer: `{rating, comment?}`. */
  rate(links, body) {
    return this.#call("POST", links.feedback ?? `${links.self}/feedback`, { body });
  }

  /** The visitor's conversations, newest first: `{conversations, next}`. */
  conversations({ limit, cursor = null }) {
    return this.#call("GET", this.#page("ai/v1/conversations", limit, cursor));
  }

  /** A conversation with a page of its turns, the newest page first: `{id, title, …, turns, next}`. */
  conversation(id, { limit, cursor = null }) {
    return this.#call("GET", this.#page(conversationPath(id), limit, cursor));
  }

  rename(id, title) {
    return this.#call("PATCH", conversationPath(id), { body: { title } });
  }

  /** Erases a conversation; null, or `{id, status}` where an answer is still being stopped. */
  remove(id) {
    return this.#call("DELETE", conversationPath(id));
  }

  /** The events as a response to be read, for one who has no ticket. */
  async events(links, after, signal) {
    const url = this.resolve(links.events);
    const headers = { Accept: "text/event-stream", ...(after && { "Last-Event-ID": after }) };
    const response = await this.#answer("GET", url, { headers, signal });
    return response.status === 200 ? response : answerOf(response);
  }

  /** Where the event stream is, from after the event `after` (null: from the beginning). */
  eventsUrl(links, ticket, after) {
    const url = this.resolve(links.events);
    url.searchParams.set("ticket", ticket);
    if (after) url.searchParams.set("after", after);
    return url.href;
  }

  /** A link of an answer as a URL, under a base that may have a path of its own. Raises where it leads elsewhere. */
  resolve(link) {
    if (link instanceof URL) return link;
    const prefix = this.#baseUrl.pathname.replace(/[^/]*$/, "");
    const path = link.startsWith(prefix) ? link : prefix + link.replace(/^\//, "");
    const url = new URL(path, this.#baseUrl);
    if (url.origin !== this.#baseUrl.origin) throw new ApiError({ status: 0, code: "foreign_link", message: "The server named a foreign address." });
    return url;
  }

  #page(path, limit, cursor) {
    const url = this.resolve(path);
    url.searchParams.set("limit", limit);
    if (cursor !== null) url.searchParams.set("cursor", cursor);
    return url;
  }

  async #call(method, link, { onResponse = () => {}, ...options } = {}) {
    const response = await this.#answer(method, link, options);
    onResponse(response);
    return answerOf(response);
  }

  /** The response, asked for again with another token where the first was refused. */
  async #answer(method, link, { body, headers = {}, signal, timeoutSeconds = 30 } = {}) {
    const url = this.resolve(link);
    const attempt = async (renew) => {
      const token = await this.#getToken({ renew });
      return fetchWithin(timeoutSeconds, url, {
        method,
        signal,
        headers: {
          Authorization: `Bearer ${token}`,
          ...(body && { "Content-Type": "application/json" }),
          ...headers,
        },
        body: body && JSON.stringify(body),
      });
    };
    const response = await attempt(false);
    return response.status === 401 ? attempt(true) : response;
  }
}

const conversationPath = (id) => `ai/v1/conversations/${encodeURIComponent(id)}`;

/** What `RateLimit-…` headers say (seconds until the reset); null where they are missing, or hidden from another origin. */
function allowanceOf(headers) {
  const [limit, remaining, reset] = ["Limit", "Remaining", "Reset"].map((name) => Number(headers.get(`RateLimit-${name}`) ?? NaN));
  if (![limit, remaining, reset].every(Number.isFinite)) return null;
  return { limit, remaining, resetAt: Date.now() + reset * 1000 };
}

/** Exchanges what the printed address carries for a visitor's token: `{token, expires_in}`. */
export async function exchangeGrant(baseUrl, grant) {
  const url = new URL("ai/v1/session/grant", baseUrl);
  const headers = { "Content-Type": "application/json" };
  return answerOf(await fetchWithin(30, url, { method: "POST", headers, body: JSON.stringify({ grant }) }));
}

/** Asks the site's own server for a visitor's token: `{token, expires_in}`. */
export async function fetchToken(url) {
  return answerOf(await fetchWithin(30, url, { method: "POST", credentials: "same-origin" }));
}

/** `fetch` that gives up in time and says every failure as an ApiError; the caller's own abort passes through. */
async function fetchWithin(seconds, url, { signal, ...options }) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  const timer = setTimeout(abort, seconds * 1000);
  try {
    return await fetch(url, { credentials: "omit", cache: "no-store", ...options, signal: controller.signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    const late = controller.signal.aborted;
    throw new ApiError({
      status: 0,
      code: late ? "timeout" : "network",
      message: late ? "The server did not answer in time." : "The server could not be reached.",
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

async function answerOf(response) {
  const body = await response.json().catch(() => null);
  if (response.ok && (body !== null || response.status === 204)) return body;
  const retryAfter = Number(body?.retry_after ?? response.headers.get("Retry-After") ?? NaN);
  throw new ApiError({
    status: response.status,
    code: body?.error ?? `http_${response.status}`,
    message: body?.message ?? `The server answered with status ${response.status}.`,
    requestId: body?.request_id ?? response.headers.get("X-Request-Id"),
    retryAfter: Number.isFinite(retryAfter) ? retryAfter : null,
    links: body?.links ?? null,
    limit: body?.limit ?? null,
  });
}
