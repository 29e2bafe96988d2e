/** Whether a text is the one that the terminal event speaks of. */

/** Unicode code points, which is what `length` counts; a JavaScript string's own length counts UTF-16 units. */
export function codePoints(text) {
  let pairs = 0;
  for (let i = 0; i < text.length - 1; i++) {
    if ((text.charCodeAt(i) & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) pairs++;
  }
  return text.length - pairs;
}

/** SHA-256 over the text's UTF-8 bytes, in hex; null where the browser has no crypto.subtle (plain http, not localhost). */
export async function sha256(text) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function matches(text, expected) {
  if (expected.length != null && codePoints(text) !== expected.length) return false;
  const digest = expected.sha256 ? await sha256(text) : null;
  return digest === null || digest === expected.sha256;
}
