// Verifies a signed result of /v1/chat.
//
//   SIGNING_SECRET="$(streamer keys signing-secret show)" node verify.js "$X_SIGNATURE" < body.json
//
// Prints `genuine` (exit code 0) or `not genuine` (1). Copy `isGenuine`, and give it the body as it came, byte for byte.

const { createHash, createHmac, timingSafeEqual } = require("node:crypto");
const { readFileSync } = require("node:fs");

const TOLERANCE_SECONDS = 300;

/** Whether `header`, the value of X-Signature, is for these bytes (a Buffer), by this secret, and not older than the tolerance. */
function isGenuine(body, header, secret, now = Date.now() / 1000) {
  const parts = header.split(",").map((part) => part.split("="));
  const seconds = parts.find(([name]) => name === "t")?.[1] ?? "";
  if (!/^[0-9]{1,12}$/.test(seconds) || Math.abs(now - Number(seconds)) > TOLERANCE_SECONDS) return false;
  let id;
  try {
    id = JSON.parse(body.toString("utf8")).id;
  } catch {
    return false;
  }
  const digest = createHash("sha256").update(body).digest("hex");
  const wanted = createHmac("sha256", secret).update(`${seconds}.${id}.${digest}`).digest();
  // One of several signatures is enough: during a rotation there are two.
  return parts.some(([name, value]) => {
    const given = Buffer.from(value ?? "", "hex");
    return name === "v1" && given.length === wanted.length && timingSafeEqual(given, wanted);
  });
}

module.exports = { isGenuine };

if (require.main === module) {
  const genuine = isGenuine(readFileSync(0), process.argv[2], process.env.SIGNING_SECRET);
  console.log(genuine ? "genuine" : "not genuine");
  process.exit(genuine ? 0 : 1);
}
