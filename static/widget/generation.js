/**
 * One generation as a viewer sees it: events and polled answers in, text and status out.
 * Pure: no DOM, no network, no clock. The events are those of the protocol's stream.
 */

export const TERMINAL = new Set(["done", "incomplete", "error", "cancelled"]);

/** How often a gap between two ids is answered with a replay from the beginning, before it is taken as meant. */
const MAX_REPLAYS = 2;

/** The state before anything is known. */
export function fresh() {
  return {
    status: "queued",
    position: null, // the place in line, from 1 on, while queued
    wait: null, // {reason, retryAfter}: a provider call failed before its first text
    run: null,
    provider: null,
    model: null,
    text: "",
    reasoning: "",
    toolCalls: [], // {index, id, name, arguments}
    lastId: null, // the cursor: the id of the last event that was taken
    lost: false, // an event is missing: nothing more is appended until a replay starts over
    replays: 0,
    events: 0,
    finishReason: null,
    usage: null, // {input, output}
    cached: false,
    error: null, // {code, message, retryable}
    expected: null, // {sha256, length} of the text, from the terminal event
    repaired: false, // the text was fetched again, since it did not match
  };
}

/** Whether a state, or a polled answer, is an end. */
export const isTerminal = ({ status }) => TERMINAL.has(status);

/** The state after one event `{kind, id, data}`; `id` is "" for a notice, or the one before it, as EventSource has it. */
export function applyEvent(state, { kind, id, data }) {
  if (isTerminal(state)) return state;
  const step = STEPS[kind];
  if (!step) return state;
  const seen = { ...state, events: state.events + 1 };
  if (!id) return step(seen, data);
  if (RESTARTS.has(kind)) return { ...step(seen, data), lastId: id, lost: false };
  if (ENDS.has(kind)) return { ...step(seen, data), lastId: id };
  if (state.lost || isOld(state.lastId, id)) return state;
  if (isGap(state.lastId, id) && state.replays < MAX_REPLAYS) {
    return { ...state, lost: true, replays: state.replays + 1 };
  }
  return { ...step(seen, data), lastId: id };
}

/** The state after a polled answer. A terminal one is final; a running one never takes back what is shown of it. */
export function applyAnswer(state, answer) {
  const text = answer.result?.text ?? "";
  if (!isTerminal(answer)) {
    if (isTerminal(state)) return state;
    const ahead = !state.text.startsWith(text);
    return {
      ...state,
      status: answer.status,
      text: ahead ? text : state.text,
      lastId: ahead ? null : state.lastId, // no event's text: a stream would have to begin at the beginning
      provider: answer.result?.provider ?? state.provider,
      model: answer.result?.model ?? state.model,
      wait: text ? null : state.wait,
    };
  }
  return {
    ...state,
    status: answer.status,
    text: answer.result ? text : answer.status === "error" ? state.text : "",
    finishReason: answer.result?.finish_reason ?? state.finishReason,
    provider: answer.result?.provider ?? state.provider,
    model: answer.result?.model ?? state.model,
    usage: answer.tokens?.out == null ? state.usage : { input: answer.tokens.in, output: answer.tokens.out },
    cached: answer.cached ?? state.cached,
    error: answer.error ?? null,
    wait: null,
    lost: false,
  };
}

/** Whether a polled answer knows more than the state. */
export function isAhead(answer, state) {
  if (isTerminal(answer)) return !isTerminal(state);
  return (answer.result?.text ?? "").length > state.text.length;
}

/** The state of a generation that this viewer may not see or that is gone: an end of our own making. */
export function unreachable(state, { code, message }) {
  return { ...state, status: "error", wait: null, error: { code, message, retryable: false } };
}

const RESTARTS = new Set(["started", "snapshot"]);
const ENDS = new Set(["done", "failed"]);

const STEPS = {
  queued: (state, { position = null }) => (state.text ? state : { ...state, position }),

  waiting: (state, { reason, retry_after }) => ({ ...state, status: "running", wait: { reason, retryAfter: retry_after } }),

  started: (state, { run, provider, model }) => ({
    ...state,
    status: "running",
    position: null,
    wait: null,
    run,
    provider,
    model,
    text: "",
    reasoning: "",
    toolCalls: [],
  }),

  switched: (state, { provider, model }) => ({ ...state, wait: null, provider, model }),

  delta: (state, { text }) => ({ ...state, status: "running", wait: null, text: state.text + text }),

  reasoning: (state, { text }) => ({ ...state, status: "running", wait: null, reasoning: state.reasoning + text }),

  tool_call: (state, piece) => ({ ...state, status: "running", wait: null, toolCalls: joined(state.toolCalls, piece) }),

  snapshot: (state, { text, reasoning, tool_calls }) => ({
    ...state,
    status: "running",
    wait: null,
    text,
    reasoning: reasoning ?? "",
    toolCalls: tool_calls ?? [],
  }),

  done: (state, data) => ({
    ...state,
    status: data.status,
    wait: null,
    finishReason: data.finish_reason,
    provider: data.provider ?? state.provider,
    model: data.model ?? state.model,
    usage: data.usage ? { input: data.usage.input ?? 0, output: data.usage.output ?? 0 } : null,
    cached: data.cached ?? false,
    expected: { sha256: data.sha256, length: data.length },
  }),

  failed: (state, data) => ({
    ...state,
    status: "error",
    wait: null,
    error: { code: data.code, message: data.message, retryable: data.retryable },
    expected: { sha256: data.sha256, length: data.length },
  }),
};

/** `calls` with a piece of one of them: pieces of one index are joined, `arguments` is partial JSON. */
function joined(calls, { index, id = null, name = null, arguments: text = "" }) {
  if (!calls.some((call) => call.index === index)) return [...calls, { index, id, name, arguments: text }];
  return calls.map((call) =>
    call.index === index
      ? { index, id: id ?? call.id, name: name ?? call.name, arguments: call.arguments + text }
      : call,
  );
}

/** `<run>-<seq>` as two numbers; null for anything else. */
function parsed(id) {
  const found = /^(\d{1,9})-(\d{1,9})$/.exec(id ?? "");
  return found && { run: Number(found[1]), seq: Number(found[2]) };
}

/** Ids strictly increase: what is not newer has been taken already. */
function isOld(lastId, id) {
  const last = parsed(lastId);
  const next = parsed(id);
  if (!last || !next) return false;
  return next.run < last.run || (next.run === last.run && next.seq <= last.seq);
}

/** Within a run every number is used; another run's text begins with `started` or `snapshot` only. */
function isGap(lastId, id) {
  const last = parsed(lastId);
  const next = parsed(id);
  if (!next) return false;
  if (!last) return true;
  return next.run !== last.run || next.seq !== last.seq + 1;
}
