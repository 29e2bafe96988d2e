/** What the widget says. One place, so that another language is another object. */

export const ENGLISH = {
  greeting: "What would you like to know?",
  placeholder: "Write a message",
  messageLabel: "Message",
  logLabel: "Conversation",
  you: "You",
  assistant: "Assistant",
  send: "Send",
  stop: "Stop",
  stopping: "Stopping…",
  newChat: "New chat",
  latest: "Jump to the latest",
  copy: "Copy",
  copied: "Copied",
  retry: "Try again",
  retryIn: (seconds) => `Try again in ${seconds} s`,
  reasoning: "Reasoning",
  hint: "Enter sends, Shift + Enter makes a new line",
  accessHelp: "Reload the page to sign in again.",

  sending: "Sending…",
  blocked: "Another answer of this conversation is still being written. Yours is next.",
  queued: (position) => (position ? `Waiting in the queue, ${position} before you` : "Waiting in the queue"),
  waiting: (reason, seconds) => `${WAITS[reason] ?? `The provider is not ready (${reason})`}. Next try in ${Math.max(1, Math.round(seconds))} s`,
  thinking: "Thinking…",
  answering: "Answering",
  checking: "Checking the text…",
  reconnecting: "Connection lost. Reconnecting…",
  offline: "You are offline. The answer goes on without you.",
  polling: "Answering, by polling",
  finished: "Answer complete",
  stopFailed: (why) => `Could not stop it. ${why}`,

  stopped: "Stopped",
  incomplete: (reason) => INCOMPLETE[reason] ?? "The answer is incomplete.",
  failed: "The answer failed",
  refused: "Not sent",
  unconfirmed: "No connection", // it may have arrived; trying again sends it as the same
  repaired: "Pieces were missing on the way. This is the stored text, fetched again.",
  unverified: "The text could not be compared with the stored one.",
  cached: "from cache",
  tokens: (count) => `${count} tokens`,
};

const WAITS = {
  rate_limited: "The provider has too much to do",
  overloaded: "The provider has too much to do",
  provider_timeout: "The provider did not answer in time",
  provider_unreachable: "The provider could not be reached",
};

const INCOMPLETE = {
  length: "The answer reached its length limit.",
  limit: "The answer reached its limit.",
  content_filter: "The provider's filter ended the answer.",
  refusal: "The model declined to go on.",
  interrupted: "The provider broke off. This is what arrived.",
};
